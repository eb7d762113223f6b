#include "pipeline/imatrix.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/fail.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/files.h"
#include "pipeline/block_engine.h"
#include "pipeline/block_forward.h"
#include "pipeline/block_statistics.h"
#include "pipeline/estimate.h"
#include "pipeline/importance.h"
#include "runtime/executor.h"

namespace vernier {
namespace {

// What the linears of a graph read, each once.
std::vector<ValueId> linear_inputs(const Graph& graph) {
  std::set<ValueId> inputs;
  for (const Op& op : graph.ops)
    if (op.kind == OpKind::linear) inputs.insert(op.inputs[0]);
  return {inputs.begin(), inputs.end()};
}

std::vector<ValueId> targets_of(const Graph& graph, bool output) {
  std::vector<ValueId> targets = linear_inputs(graph);
  if (output && std::find(targets.begin(), targets.end(), graph.output) == targets.end())
    targets.push_back(graph.output);
  return targets;
}

class Gatherer {
 public:
  Gatherer(const ModelSource& source, const CalibrationSet& calibration, const ImatrixOptions& options)
      : source_(source),
        calibration_(calibration),
        options_(options),
        shape_{calibration.samples, calibration.ctx},
        executor_(make_core_executor()) {}
  ~Gatherer() {
    std::error_code ignored;
    std::filesystem::remove_all(options_.scratch, ignored);
  }

  Result<ImatrixResult> run();

 private:
  Status check_budget(ImatrixResult& result) const;
  Status walk(const Graph& graph, const SpillFile& input, SpillFile* output, Progress& progress);
  void add_entries(const Graph& graph, const std::map<ValueId, SquareSums>& sums);
  Result<std::unique_ptr<SpillFile>> open_hidden(int block) const {
    return SpillFile::open(options_.scratch + "/hidden." + std::to_string(block), DType::bf16, shape_.tokens(),
                           source_.graph().hidden);
  }

  const ModelSource& source_;
  const CalibrationSet& calibration_;
  const ImatrixOptions& options_;
  SampleShape shape_;
  std::unique_ptr<Executor> executor_;
  ImportanceFile file_;
  std::map<std::string, std::size_t> places_;  // entry's name -> index into file_.entries
};

Status Gatherer::check_budget(ImatrixResult& result) const {
  const std::int64_t tokens = shape_.ctx * std::min(BlockEngine::forward_sequences(shape_.ctx), shape_.samples);
  std::map<std::string, std::int64_t> stored;
  for (const SourceTensor& tensor : source_.tensors()) stored[tensor.name] = tensor.stored_bytes;
  const std::vector<const Graph*> graphs = source_.graph().graphs();
  const Graph* worst = nullptr;
  for (std::size_t g = 1; g < graphs.size(); ++g) {
    const Graph& graph = *graphs[g];
    const bool last = g + 1 == graphs.size();
    std::int64_t bytes = forward_peak_bytes(graph, targets_of(graph, !last), tokens);
    for (const TensorRef& tensor : graph.tensors)
      if (!last || tensor.shape.rank() == 1) bytes += stored[tensor.name];
    if (worst && bytes <= result.peak_bytes) continue;
    result.peak_bytes = bytes;
    worst = &graph;
  }
  result.peak_bytes += process_bytes;
  if (result.peak_bytes <= options_.memory_bytes) return {};
  return with_hint(fail(ErrorCode::over_budget, "{} needs {}, the memory budget is {}", worst->name,
                        format_bytes(result.peak_bytes), format_bytes(options_.memory_bytes)),
                   fmt::format("the smallest that works is --memory {}M", (result.peak_bytes >> 20) + 1));
}

Result<ImatrixResult> Gatherer::run() {
  ImatrixResult result;
  VN_TRY(check_budget(result));
  VN_TRY(make_directories(options_.scratch));
  const ModelGraph& model = source_.graph();
  double work = 0;
  for (const Graph& block : model.blocks) work += BlockEngine::block_work(block, shape_.tokens());
  Progress progress("imatrix", work);

  VN_ASSIGN(auto hidden, open_hidden(0));
  VN_TRY(embed_samples(source_, calibration_.ids, shape_, *executor_, *hidden));
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    VN_ASSIGN(auto next, open_hidden(static_cast<int>(b) + 1));
    VN_TRY(walk(model.blocks[b], *hidden, next.get(), progress));
    VN_TRY(hidden->remove());
    hidden = std::move(next);
    trim_heap();
  }
  VN_TRY(walk(model.head, *hidden, nullptr, progress));
  file_.chunks = calibration_.samples;
  file_.chunk_tokens = calibration_.ctx;
  file_.datasets = {calibration_.description};
  result.file = std::move(file_);
  return result;
}

// The sums of one graph; its output goes to `output` where there is one.
Status Gatherer::walk(const Graph& graph, const SpillFile& input, SpillFile* output, Progress& progress) {
  VN_ASSIGN(const WeightTable weights, load_weights(source_, graph));
  const std::vector<ValueId> inputs = linear_inputs(graph), targets = targets_of(graph, output != nullptr);
  const std::vector<ValueId> known{graph.input};
  std::map<ValueId, SquareSums> sums;
  for (const ValueId v : inputs) sums.emplace(v, graph.values[v].width);
  BlockForward forward(graph, *executor_, input, shape_, options_.scratch, DType::bf16);
  const double unit_work =
      output ? BlockEngine::block_work(graph, shape_.tokens()) / static_cast<double>(forward.units().size()) : 0;
  for (const ForwardUnit& unit : forward.units()) {
    ValueTable table(graph);
    VN_TRY(forward.read(unit, known, table));
    VN_TRY(forward.evaluate(weights, unit, table, targets));
    for (auto& [value, sum] : sums) sum.add(table[value].matrix());
    if (output) VN_TRY(write_rows(*output, unit.first_row, table[graph.output].matrix()));
    progress.advance(unit_work, graph.name);
  }
  add_entries(graph, sums);
  source_.release(graph);
  return {};
}

void Gatherer::add_entries(const Graph& graph, const std::map<ValueId, SquareSums>& sums) {
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::linear) continue;
    const ImportancePlace place = importance_place(graph.tensors[op.weight].name);
    const auto [at, fresh] = places_.emplace(place.entry, file_.entries.size());
    if (fresh) file_.entries.push_back({place.entry, {}, {}});
    ImportanceEntry& entry = file_.entries[at->second];
    const SquareSums& sum = sums.at(op.inputs[0]);
    const auto matrix = static_cast<std::size_t>(std::max<std::int64_t>(place.matrix, 0));
    const std::size_t columns = sum.sums().size();
    if (entry.counts.size() <= matrix) {
      entry.counts.resize(matrix + 1);
      entry.sums.resize((matrix + 1) * columns);
    }
    entry.counts[matrix] = static_cast<float>(sum.tokens());
    std::transform(sum.sums().begin(), sum.sums().end(),
                   entry.sums.begin() + static_cast<std::ptrdiff_t>(matrix * columns),
                   [](double s) { return static_cast<float>(s); });
  }
}

}  // namespace

Result<ImatrixResult> gather_imatrix(const ModelSource& source, const CalibrationSet& calibration,
                                     const ImatrixOptions& options) {
  return Gatherer(source, calibration, options).run();
}

}  // namespace vernier
