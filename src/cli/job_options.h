// The options that `plan` and `quantize` share.
#pragma once

#include <string>
#include <vector>

#include "cli/output.h"
#include "pipeline/plan.h"

namespace vernier {

struct JobOptions {
  CommonOptions common;
  RunOptions run;
  std::string recipe;
  std::vector<std::string> sets;
  std::int64_t samples = 0, ctx = 0;  // 0: the recipe's
  std::string compute;                // empty: the recipe's
  double target_bpw = 0;              // 0: the recipe's

  // The recipe with everything set on the command line. A wrong name or key is the caller's usage error.
  Result<Recipe> load() const;
  // MODEL's last path component and the recipe's name, in the current folder, unless -o names an output.
  void set_default_output(const Recipe& resolved);
};
void add_job_options(CLI::App& app, JobOptions& options);

}  // namespace vernier
