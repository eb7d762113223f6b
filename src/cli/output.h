// What all subcommands share: common options, how results and errors are printed.
#pragma once

#include <string>

#include "base/json.h"
#include "cli/command.h"
#include "vernier/status.h"

namespace vernier {

struct CommonOptions {
  bool json = false;
  bool quiet = false;
  int threads = 0;  // 0: one per core

  // Sets the process's thread count and whether progress is drawn.
  void apply() const;
};
void add_common_options(CLI::App& app, CommonOptions& options);

// An option that takes bytes as users write them ("4G"); anything else is a usage error.
void add_bytes_option(CLI::App& app, const std::string& name, std::int64_t& target, const std::string& help);

void print_json(const Json& json);  // to stdout

// Prints "vernier: message" and the hint to stderr; returns exit_failed, or exit_usage for usage_error.
int report(const Error& error);
int usage_error(const std::string& message);

// Forces an instruction set that `origin` ("--isa") names. Errors: unknown, or this CPU lacks it.
Status require_isa(std::string_view origin, const std::string& isa);

// The arguments of this process as a shell would take them, without `dropped`.
void set_command_line(int argc, char** argv);
std::string command_line(const std::string& dropped = {});

}  // namespace vernier
