#include "eval/chunks.h"

#include <algorithm>
#include <unordered_map>

#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "eval/scorer.h"

namespace vernier {
namespace {

constexpr std::int64_t mebibyte = 1 << 20;
constexpr std::int64_t most_rows = 8192;  // beyond this, products gain nothing from more rows
constexpr std::int64_t unbounded_working = 512 * mebibyte;
// Buffers that do not grow with the chunk: per worker a tile of expanded weights, packed operands and attention scores.
constexpr std::int64_t per_worker = 16 * mebibyte;
constexpr std::int64_t slack = 48 * mebibyte;  // allocator, library state, page tables

// The largest graph: with streaming only one is resident. Page-cache read-around may map a whole embedding table.
std::int64_t largest_graph_bytes(const ModelSource& model) {
  std::unordered_map<std::string, std::int64_t> stored;
  for (const SourceTensor& tensor : model.tensors()) stored[tensor.name] = tensor.stored_bytes;
  std::int64_t most = 0;
  for (const Graph* graph : model.graph().graphs()) {
    std::int64_t bytes = 0;
    for (const TensorRef& tensor : graph->tensors) {
      const auto it = stored.find(tensor.name);
      bytes += it == stored.end() ? 0 : it->second;
    }
    most = std::max(most, bytes);
  }
  return most;
}

}  // namespace

std::int64_t working_bytes_per_row(const Graph& graph) {
  std::vector<int> last_use(graph.values.size(), -1);
  std::vector<double> rows(graph.values.size(), 1.0);  // of each value, per token of the chunk
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    const Op& op = graph.ops[i];
    for (const ValueId v : op.inputs) last_use[v] = i;
    if (op.kind != OpKind::combine || op.experts == 0) continue;
    // A token reaches top_k experts: their outputs together have top_k rows a token, however they are spread.
    for (std::size_t k = 1; k < op.inputs.size(); ++k)
      rows[op.inputs[k]] = static_cast<double>(op.top_k) / static_cast<double>(op.experts);
  }
  if (graph.output >= 0) last_use[graph.output] = static_cast<int>(graph.ops.size());
  const auto floats = [&](ValueId v) { return static_cast<double>(graph.values[v].width) * rows[v]; };
  double live = graph.input >= 0 ? floats(graph.input) : 0, most = live;
  for (int i = 0; i < static_cast<int>(graph.ops.size()); ++i) {
    const Op& op = graph.ops[i];
    live += floats(op.output);
    // A quantizer on a linear's input works on a copy of it.
    const double copy = op.kind == OpKind::linear ? floats(op.inputs[0]) : 0;
    most = std::max(most, live + copy);
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      const ValueId v = op.inputs[k];
      const bool repeated = std::find(op.inputs.begin(), op.inputs.begin() + k, v) != op.inputs.begin() + k;
      if (!repeated && last_use[v] == i) live -= floats(v);
    }
  }
  return static_cast<std::int64_t>(most) * static_cast<std::int64_t>(sizeof(float));
}

Result<Chunking> plan_chunks(const std::vector<const ModelSource*>& models, std::int64_t length,
                             std::int64_t memory_bytes) {
  std::int64_t weights = 0, working = 0, kept = 0, hidden = 0;
  for (const ModelSource* model : models) {
    weights = std::max(weights, largest_graph_bytes(*model));
    kept += model->graph().hidden * static_cast<std::int64_t>(sizeof(float));
    hidden = std::max(hidden, model->graph().hidden);
    for (const Graph& block : model->graph().blocks) working = std::max(working, working_bytes_per_row(block));
  }
  const std::int64_t vocab = models.front()->graph().vocab;
  const std::int64_t row_bytes = static_cast<std::int64_t>(sizeof(float)) * (vocab + 2 * hidden);
  const std::int64_t tiles = static_cast<std::int64_t>(models.size()) * logits_tile_rows(vocab) * row_bytes;
  const std::int64_t per_row = kept + working;

  Chunking chunking;
  std::int64_t room = unbounded_working;
  std::int64_t fixed = 0;
  if (memory_bytes > 0) {
    trim_heap();
    fixed = resident_bytes() + weights + tiles + thread_count() * per_worker + slack;
    const std::int64_t smallest = fixed + length * per_row;
    if (smallest > memory_bytes) {
      const std::int64_t whole = (smallest + mebibyte - 1) / mebibyte;
      return with_hint(fail(ErrorCode::over_budget, "a memory budget of {} is too small for pieces of {} tokens",
                            format_bytes(memory_bytes), length),
                       fmt::format("the smallest that works is --memory {}M", whole));
    }
    room = memory_bytes - fixed;
    chunking.stream = true;
  }
  const std::int64_t most = std::max<std::int64_t>(1, most_rows / length);
  const std::int64_t pieces = std::clamp<std::int64_t>(room / (length * per_row), 1, most);
  chunking.rows = pieces * length;
  chunking.bytes = fixed + chunking.rows * per_row;
  return chunking;
}

}  // namespace vernier
