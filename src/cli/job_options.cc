#include "cli/job_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

namespace vernier {

Result<Recipe> JobOptions::load() const {
  std::vector<std::string> all = sets;
  if (samples > 0) all.push_back(fmt::format("calibration.samples={}", samples));
  if (ctx > 0) all.push_back(fmt::format("calibration.ctx={}", ctx));
  if (!compute.empty()) all.push_back("compute=" + compute);
  if (target_bpw > 0) all.push_back(fmt::format("target_bpw={}", target_bpw));
  return load_recipe(recipe, all);
}

void JobOptions::set_default_output(const Recipe& resolved) {
  if (!run.out.empty()) return;
  std::string model = run.model;
  while (model.size() > 1 && model.back() == '/') model.pop_back();
  run.out = fmt::format("{}-{}", model.substr(model.find_last_of('/') + 1), resolved.name);
}

void add_job_options(CLI::App& app, JobOptions& options) {
  RunOptions& run = options.run;
  app.add_option("MODEL", run.model, "Hugging Face model folder, or a GGUF file of floats")->required();
  app.add_option("-o,--out", run.out, "output folder (default: MODEL-RECIPE here)");
  app.add_option("--recipe", options.recipe, "built-in name (vernier list recipes) or a YAML file")->required();
  app.add_option("--set", options.sets, "KEY=VALUE: any key of the recipe; may be repeated")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  app.add_option("--calib", run.calib, "calibration: text or JSONL file, `self` (default) or `random`");
  app.add_option("--imatrix", run.imatrix,
                 "importance matrix that weighs the columns of each weight (vernier imatrix, llama-imatrix)");
  app.add_option("--samples", options.samples, "calibration samples")->check(CLI::PositiveNumber);
  app.add_option("--ctx", options.ctx, "tokens per calibration sample")->check(CLI::Range(2, 1 << 20));
  app.add_option("--compute", options.compute, "products of the calibration forward (default: the recipe's, f32)")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--target-bpw", options.target_bpw,
                 "bits per quantized weight: grids are chosen tensor by tensor, by measured sensitivity")
      ->check(CLI::PositiveNumber);
  add_bytes_option(app, "--memory", run.memory_bytes, "most resident memory (default: 3/4 of what is free)");
  app.add_option("--device", run.device, "where calibration runs")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--container", run.container, "output container (vernier list containers; default: by the result)");
  app.add_option("--scratch", run.scratch, "folder for the journal and spill files (default: OUT.run)");
  add_bytes_option(app, "--max-shard", run.max_shard_bytes,
                   "largest weight file of the output (default: 4G; gguf: one file)");
  app.add_flag("--fresh", run.fresh, "discard an earlier run's state and output");
  add_common_options(app, options.common);
}

}  // namespace vernier
