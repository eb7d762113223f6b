// Verification as commands print it, their own outputs' included.
#pragma once

#include <string>

#include "base/json.h"
#include "cli/command.h"
#include "pipeline/verify.h"

namespace vernier {

Json verify_json(const VerifyReport& report);
void print_problems(const VerifyReport& report);  // a table, then the notes

void add_no_verify_option(CLI::App& app, bool& no_verify);

// Verifies what a command wrote to `out` from `model`, and returns whether all is well. Prints the verdict; what is
// wrong as a table, or as JSON in the place of the command's own result.
bool verify_output(const std::string& out, const std::string& model, bool json, std::int64_t memory_bytes = 0);

}  // namespace vernier
