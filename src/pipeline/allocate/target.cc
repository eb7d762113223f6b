#include "pipeline/allocate/target.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "arch/architecture.h"
#include "base/cpu.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/files.h"
#include "kernels/ops.h"
#include "pipeline/allocate/allocator.h"
#include "pipeline/allocate/sensitivity_file.h"
#include "pipeline/learn_plugin.h"
#include "pipeline/quantize.h"
#include "vernier/version.h"

namespace vernier {
namespace {

using Costs = AllocationReport::Costs;

// Above this many weights `sensitivity: auto` measures no divergence: a forward pass of the rest of the model for each
// of a few hundred candidates would take hours.
constexpr std::int64_t most_measured_weights = 150'000'000;
constexpr double tolerance = 0.01;  // of the target, below where that can be reached
constexpr std::int64_t process_bytes = std::int64_t{96} << 20;

struct Subject {
  std::unique_ptr<Checkpoint> checkpoint;
  ModelGraph graph;
  AllocationReport report;
  Costs measured = Costs::divergence;
};

Result<Subject> open_subject(const Recipe& recipe, const RunOptions& options) {
  if (!recipe.transforms.empty())
    return with_hint(
        fail(ErrorCode::unsupported,
             "recipe {}: target_bpw with transforms: sensitivities would be those of other weights", recipe.name),
        "leave out transforms or target_bpw");
  Subject subject;
  VN_ASSIGN(subject.checkpoint, Checkpoint::open(options.model));
  VN_ASSIGN(subject.graph, build_model_graph(subject.checkpoint->config(), options.model + "/config.json"));
  AllocationReport& report = subject.report;
  report.target = recipe.target_bpw;
  VN_ASSIGN(report.tensors, allocated_tensors(*subject.checkpoint, subject.graph, recipe, options.container));
  std::int64_t weights = 0;
  for (const AllocatedTensor& tensor : report.tensors) weights += tensor.shape.elements();
  const bool divergence =
      recipe.sensitivity == "kl" || (recipe.sensitivity == "auto" && weights <= most_measured_weights);
  subject.measured = divergence ? Costs::divergence : Costs::hessian;
  report.work = measure_work(subject.graph, report.tensors, recipe, divergence);
  report.peak_bytes = process_bytes + measure_bytes(subject.graph, report.tensors, divergence);
  return subject;
}

std::string run_path(const RunOptions& options, const char* file) { return run_folder(options) + "/" + file; }

std::string text_at(const Json& json, const std::string& key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_at(const Json& json, const std::string& key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0;
}

// What costs depend on. `calibration` is left out where the tokens are not at hand.
Json identity(const Subject& subject, Recipe recipe, const RunOptions& options, const std::string& calibration) {
  recipe.target_bpw = 0;
  return {{"version", version()},
          {"source", subject.checkpoint->fingerprint()},
          {"recipe", recipe.yaml()},
          {"container", options.container},
          {"costs", subject.measured == Costs::divergence ? "divergence" : "hessian"},
          {"calib", options.calib},
          {"calibration", calibration},
          {"numeric path", fmt::format("{} on {}", recipe.compute,
                                       options.device == "cpu" ? std::string(name(best_isa())) : options.device)}};
}

double cost_of(const AllocationReport& report, std::size_t tensor, std::size_t candidate) {
  const AllocatedTensor& t = report.tensors[tensor];
  if (t.candidates.size() == 1) return 0;
  if (report.costs != Costs::provisional) return report.sensitivities[tensor][candidate].cost;
  const auto weights = static_cast<double>(t.shape.elements());
  return weights * std::exp2(-2 * static_cast<double>(t.candidates[candidate].bits) / weights);
}

// The sizes of all tensors' smallest, and of their largest candidates, in bits per weight.
std::pair<double, double> reach(const AllocationReport& report) {
  double least = 0, most = 0, weights = 0;
  for (const AllocatedTensor& tensor : report.tensors) {
    least += static_cast<double>(tensor.candidates.front().bits);
    most += static_cast<double>(tensor.candidates.back().bits);
    weights += static_cast<double>(tensor.shape.elements());
  }
  return {least / weights, most / weights};
}

Error out_of_reach(const AllocationReport& report, const std::string& where) {
  const auto [least, most] = reach(report);
  return with_hint(
      fail(ErrorCode::invalid, "{}: {} bits per weight cannot be reached: this recipe's grids give {:.3f} to {:.3f}",
           where, report.target, least, most),
      "give a --target-bpw between these; overrides name tensors whose grid the allocator must not touch");
}

// Fills the choice and what follows from it.
Status choose(AllocationReport& report, const std::string& where) {
  std::vector<AllocationItem> items;
  std::int64_t weights = 0;
  for (std::size_t t = 0; t < report.tensors.size(); ++t) {
    const std::vector<CandidateGrid>& candidates = report.tensors[t].candidates;
    AllocationItem item;
    for (std::size_t c = 0; c < candidates.size(); ++c) item.push_back({cost_of(report, t, c), candidates[c].bits});
    items.push_back(std::move(item));
    weights += report.tensors[t].shape.elements();
  }
  const double wanted = report.target * static_cast<double>(weights);
  AllocationLimits limits;
  // Costs from shapes alone are full of ties, among which a proof takes long and is worth nothing.
  if (report.costs == Costs::provisional) limits.gap = 0.02, limits.nodes = 1000;
  limits.least_bits = static_cast<std::int64_t>(std::ceil(wanted * (1 - tolerance)));
  limits.most_bits = static_cast<std::int64_t>(std::floor(wanted));
  Result<Allocation> made = allocate(items, limits);
  if (!made.ok() && made.error().code == ErrorCode::not_found) {
    limits.most_bits = static_cast<std::int64_t>(std::floor(wanted * (1 + tolerance)));
    made = allocate(items, limits);
  }
  if (!made.ok() && made.error().code == ErrorCode::not_found) return out_of_reach(report, where);
  if (!made.ok()) return std::move(made).take_error();
  report.choice = made->choice;
  report.cost = made->cost;
  report.gap = made->gap;
  report.bits_per_weight = static_cast<double>(made->bits) / static_cast<double>(weights);
  return {};
}

Json choice_json(const AllocationReport& report, const std::string& fingerprint) {
  Json json = {{"costs", fingerprint},     {"target_bpw", report.target}, {"bits_per_weight", report.bits_per_weight},
               {"predicted", report.cost}, {"gap", report.gap},           {"grids", Json::object()}};
  for (std::size_t t = 0; t < report.tensors.size(); ++t)
    append_member(json["grids"], report.tensors[t].name, report.tensors[t].candidates[report.choice[t]].grid.text());
  return json;
}

// The choice stored at `path`, where it was made from these costs.
bool read_choice(AllocationReport& report, const std::string& path, const std::string& fingerprint) {
  if (!file_exists(path)) return false;
  const auto text = read_text_file(path);
  if (!text.ok()) return false;
  const auto json = parse_json(*text, path);
  if (!json.ok() || !json->is_object() || text_at(*json, "costs") != fingerprint ||
      number_at(*json, "target_bpw") != report.target)
    return false;
  const auto grids = json->find("grids");
  if (grids == json->end() || !grids->is_object()) return false;
  std::vector<std::size_t> choice;
  std::int64_t bits = 0, weights = 0;
  for (const AllocatedTensor& tensor : report.tensors) {
    const auto chosen = std::find_if(tensor.candidates.begin(), tensor.candidates.end(), [&](const CandidateGrid& c) {
      return text_at(*grids, tensor.name) == c.grid.text();
    });
    if (chosen == tensor.candidates.end()) return false;
    choice.push_back(static_cast<std::size_t>(chosen - tensor.candidates.begin()));
    bits += chosen->bits;
    weights += tensor.shape.elements();
  }
  report.choice = std::move(choice);
  report.bits_per_weight = static_cast<double>(bits) / static_cast<double>(weights);
  report.gap = number_at(*json, "gap");
  report.cost = 0;
  for (std::size_t t = 0; t < report.tensors.size(); ++t) report.cost += cost_of(report, t, report.choice[t]);
  return true;
}

void take_costs(AllocationReport& report, const SensitivityFile& file, Costs costs) {
  report.costs = costs;
  report.sensitivities.clear();
  for (std::size_t t = 0; t < report.tensors.size(); ++t) report.sensitivities.push_back(file.at(t));
}

AllocatedRecipe resolved(const Recipe& recipe, AllocationReport report) {
  AllocatedRecipe made{recipe, std::move(report)};
  made.recipe.target_bpw = 0;
  made.recipe.summary = fmt::format("{}; grids chosen for {} bits per weight", recipe.summary, recipe.target_bpw);
  std::vector<TensorOverride> overrides;
  for (std::size_t t = 0; t < made.report.tensors.size(); ++t) {
    const AllocatedTensor& tensor = made.report.tensors[t];
    if (tensor.candidates.size() > 1)
      overrides.push_back({tensor.name, tensor.candidates[made.report.choice[t]].weights});
  }
  made.recipe.overrides.insert(made.recipe.overrides.begin(), overrides.begin(), overrides.end());
  return made;
}

Status measure(Subject& subject, const Recipe& recipe, const RunOptions& options, const ModelSource& source,
               const CalibrationSet& calibration, SensitivityFile& file) {
  const std::int64_t budget = options.memory_bytes > 0 ? options.memory_bytes : available_bytes() / 4 * 3;
  if (subject.report.peak_bytes > budget)
    return with_hint(fail(ErrorCode::over_budget, "measuring sensitivities needs {}, the memory budget is {}",
                          format_bytes(subject.report.peak_bytes), format_bytes(budget)),
                     fmt::format("the smallest that works is --memory {}M", (subject.report.peak_bytes >> 20) + 1));
  if (!kernels::set_compute(recipe.compute == "bf16" ? DType::bf16 : DType::f32))
    return with_hint(fail(ErrorCode::unsupported, "compute {}: this CPU has no such products", recipe.compute),
                     "use --set compute=f32");
  VN_ASSIGN(const auto executor, make_device_executor(options.device));
  const auto begin = std::chrono::steady_clock::now();
  double total = 0, done = 0;
  for (std::size_t t = 0; t < subject.report.tensors.size(); ++t)
    if (subject.report.tensors[t].candidates.size() > 1) ++total, done += !file.at(t).empty();
  Progress progress("measuring", total, done);
  const MeasureInput input{source, calibration,         *executor,
                           recipe, run_folder(options), subject.measured == Costs::divergence};
  VN_TRY(measure_sensitivities(
      input, subject.report.tensors, [&](std::size_t tensor) { return !file.at(tensor).empty(); },
      [&](std::size_t tensor, std::vector<Sensitivity> found) {
        progress.advance(1, subject.report.tensors[tensor].name);
        return file.append(tensor, std::move(found));
      }));
  subject.report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {};
}

}  // namespace

Result<AllocatedRecipe> allocate_recipe(const Recipe& recipe, RunOptions& options) {
  VN_ASSIGN(Subject subject, open_subject(recipe, options));
  const auto [least, most] = reach(subject.report);
  if (recipe.target_bpw < least * (1 - tolerance) || recipe.target_bpw > most * (1 + tolerance))
    return out_of_reach(subject.report, options.model);
  VN_TRY(claim_output(options));
  options.fresh = false;
  VN_ASSIGN(const auto source, open_model(options.model));
  VN_ASSIGN(const CalibrationSet calibration, load_calibration(*source, options.calib.empty() ? "self" : options.calib,
                                                               recipe.calibration, options.memory_bytes));
  VN_ASSIGN(SensitivityFile file,
            SensitivityFile::open(run_path(options, "sensitivities.jsonl"),
                                  identity(subject, recipe, options, calibration.fingerprint), subject.report.tensors));
  if (!file.matches() && file_exists(run_path(options, "journal.jsonl")))
    return with_hint(
        fail(ErrorCode::mismatch, "{}: holds a run whose sensitivities are not those of this one", run_folder(options)),
        "restore what was changed and run the same command again, or discard the run with --fresh");
  if (!file.complete()) VN_TRY(measure(subject, recipe, options, *source, calibration, file));
  take_costs(subject.report, file, subject.measured);
  const std::string choice = run_path(options, "allocation.json");
  if (!read_choice(subject.report, choice, file.fingerprint())) {
    VN_TRY(choose(subject.report, options.model));
    VN_TRY(write_file_atomic(choice, dump_json(choice_json(subject.report, file.fingerprint())) + "\n"));
  }
  return resolved(recipe, std::move(subject.report));
}

Result<AllocatedRecipe> preview_allocation(const Recipe& recipe, const RunOptions& options) {
  VN_ASSIGN(Subject subject, open_subject(recipe, options));
  const std::string path = run_path(options, "sensitivities.jsonl");
  // The calibration's tokens are not at hand: what the file says of them is taken.
  std::string tokens;
  if (file_exists(path)) {
    VN_ASSIGN(const std::string text, read_text_file(path));
    const auto first = parse_json(std::string_view(text).substr(0, text.find('\n')), path);
    if (first.ok() && first->is_object()) tokens = text_at(*first, "calibration");
  }
  VN_ASSIGN(const SensitivityFile file,
            SensitivityFile::open(path, identity(subject, recipe, options, tokens), subject.report.tensors));
  if (file.matches() && file.complete()) take_costs(subject.report, file, subject.measured);
  if (subject.report.costs == Costs::provisional ||
      !read_choice(subject.report, run_path(options, "allocation.json"), file.fingerprint()))
    VN_TRY(choose(subject.report, options.model));
  return resolved(recipe, std::move(subject.report));
}

}  // namespace vernier
