#include "pipeline/quantize.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/files.h"
#include "kernels/ops.h"
#include "pipeline/calibration.h"
#include "pipeline/estimate.h"
#include "pipeline/learn_plugin.h"
#include "pipeline/record.h"
#include "pipeline/stream.h"
#include "vernier/version.h"

namespace vernier {

namespace fs = std::filesystem;

std::string run_folder(const RunOptions& options) {
  return options.scratch.empty() ? options.out + ".run" : options.scratch;
}

// An output belongs to this run when its journal is here; anything else in the way is the user's and stays untouched.
Status claim_output(const RunOptions& options) {
  const std::string run = run_folder(options), journal = run + "/journal.jsonl";
  std::error_code problem;
  if (options.fresh) {
    if (file_exists(options.out) && !file_exists(journal) && !file_exists(options.out + "/recipe.yaml") &&
        !list_directory(options.out).empty()) {
      return with_hint(fail(ErrorCode::exists, "{}: exists and was not written by vernier", options.out),
                       "--fresh only replaces outputs of earlier runs; choose another folder with -o");
    }
    fs::remove_all(run, problem);
    fs::remove_all(options.out, problem);
    if (problem) return fail(ErrorCode::io, "{}: cannot remove: {}", options.out, problem.message());
  } else if (file_exists(options.out) && !file_exists(journal)) {
    if (!is_directory(options.out) || !list_directory(options.out).empty()) {
      return with_hint(fail(ErrorCode::exists, "{}: exists already", options.out),
                       "choose another folder with -o, or replace an earlier output with --fresh");
    }
  }
  VN_TRY(make_directories(run));
  return make_directories(options.out);
}

namespace {

Journal::Identity identity(const Plan& plan, const std::string& calibration) {
  return {{"version", version()},
          {"source", plan.checkpoint->fingerprint()},
          {"recipe", plan.output.recipe_yaml},
          {"calibration", calibration},
          {"importance matrix", plan.importance.fingerprint},
          {"container", std::string(plan.container->name)},
          {"shard limit", std::to_string(plan.output.max_shard_bytes)},
          {"numeric path",
           fmt::format("{} on {}", plan.recipe.compute,
                       plan.options.device == "cpu" ? std::string(name(best_isa())) : plan.options.device)}};
}

// Steps that the journal knows as done are in the output, unless somebody removed it.
Status check_output(const Plan& plan, const Journal& journal, const std::vector<Step>& steps) {
  const bool begun = std::any_of(steps.begin(), steps.end(), [&](const Step& step) { return journal.done(step.name); });
  if (!begun || (journal.done("output") ? file_exists(plan.options.out + "/config.json") : OutputFolder::begun(plan)))
    return {};
  return with_hint(fail(ErrorCode::mismatch, "{}: the output is not what it was when this run was interrupted or ended",
                        plan.options.out),
                   "restore it and run the same command again, or discard the run with --fresh");
}

// Static activation scales of finished blocks come back from their records.
void restore_activations(Plan& plan, const std::vector<TensorRecord>& records) {
  for (const TensorRecord& record : records) {
    for (WeightPlan& weight : plan.output.weights) {
      if (weight.name == record.name && record.activation) weight.activation = record.activation;
    }
  }
}

Status append_records(const std::string& path, const std::vector<TensorRecord>& records) {
  std::string lines;
  for (const TensorRecord& record : records) lines += dump_json(to_json(record), -1) + "\n";
  return lines.empty() ? Status() : append_durable(path, lines);
}

}  // namespace

Result<QuantizeResult> quantize(Plan plan) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string run = run_folder(plan.options), records_path = run + "/tensors.jsonl";
  VN_TRY(claim_output(plan.options));

  std::shared_ptr<const ModelSource> source;
  CalibrationSet calibration;
  std::unique_ptr<BlockEngine> engine;
  if (plan.calibrated) {
    VN_ASSIGN(source, open_model(plan.options.model));
    VN_ASSIGN(calibration, load_calibration(*source, plan.options.calib.empty() ? "self" : plan.options.calib,
                                            plan.recipe.calibration, plan.memory_bytes));
    if (plan.output.rewritten) source = plan.output.rewritten;
    if (!kernels::set_compute(plan.recipe.compute == "bf16" ? DType::bf16 : DType::f32)) {
      return with_hint(fail(ErrorCode::unsupported, "compute {}: this CPU has no such products", plan.recipe.compute),
                       "use --set compute=f32");
    }
    VN_ASSIGN(auto plans, linear_plans(plan));
    VN_ASSIGN(auto executor, make_device_executor(plan.options.device));
    BlockEngineOptions options;
    options.scratch = run;
    options.recipe = plan.recipe;
    VN_ASSIGN(engine,
              BlockEngine::make(*source, calibration, std::move(plans), std::move(executor), std::move(options)));
  }

  VN_ASSIGN(Journal journal, Journal::open(run + "/journal.jsonl", identity(plan, calibration.fingerprint)));
  QuantizeResult result;
  result.resumed = journal.resumed();
  result.container = plan.container->name;
  VN_ASSIGN(result.tensors, read_records(records_path));
  restore_activations(plan, result.tensors);
  const std::vector<Step> steps = plan_steps(plan);

  VN_TRY(check_output(plan, journal, steps));
  if (!journal.done("output")) {
    VN_ASSIGN(OutputFolder output, OutputFolder::open(plan));
    BlockEngine* const blocks = engine.get();
    if (blocks && !journal.done("calibration")) {
      VN_TRY(blocks->begin());
      VN_TRY(journal.finish("calibration"));
    }
    double done = 0;
    for (const Step& step : steps) done += journal.done(step.name) ? step_work(plan, step) : 0;
    Progress progress("quantize", plan_work(plan), done);
    Stream stream(plan, output, std::move(engine),
                  [&](double work, std::string_view detail) { progress.advance(work, detail); });
    for (const Step& step : steps) {
      if (journal.done(step.name)) {
        VN_TRY(stream.forget(step));
        continue;
      }
      VN_TRY(check_interrupt());
      std::vector<TensorRecord> records;
      VN_TRY(stream.run(step, records));
      VN_TRY(output.sync());
      VN_TRY(append_records(records_path, records));
      VN_TRY(journal.finish(step.name));
      VN_TRY(stream.forget(step));
      log_debug("{}: {} tensors, resident {}", step.name, records.size(), format_bytes(resident_bytes()));
      result.tensors.insert(result.tensors.end(), records.begin(), records.end());
    }
    VN_TRY(output.finish(plan));
    VN_TRY(journal.finish("output"));
  }
  result.output_bytes = plan.output_bytes;
  result.peak_resident_bytes = peak_resident_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace vernier
