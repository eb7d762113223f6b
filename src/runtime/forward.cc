#include "runtime/forward.h"

#include "base/cores.h"

namespace vernier {

Result<std::unique_ptr<Forward>> Forward::open(const ModelSource& source, bool stream, const ExecutorOptions& options) {
  std::unique_ptr<Forward> forward(new Forward(source));
  forward->executor_ = make_core_executor(options);
  forward->stream_ = stream;
  for (const Graph* graph : source.graph().graphs()) {
    VN_ASSIGN(WeightTable table, load_weights(source, *graph));
    forward->tables_.push_back(std::move(table));
    if (stream) source.release(*graph);
  }
  if (stream || memory_nodes() == 1) return forward;
  for (const WeightTable& table : forward->tables_)
    for (const auto& matrix : table.matrices)
      if (matrix) matrix->touch();
  return forward;
}

Result<Buffer> Forward::run(const Graph& graph, const WeightTable& table, const Batch& batch, Buffer input,
                            KvCache* cache, int layer) {
  ValueTable values(graph);
  if (graph.input >= 0) values.set(graph.input, std::move(input));
  const ValueId target = graph.output;
  const Status status = executor_->evaluate(graph, table, batch, values, {&target, 1}, cache, layer);
  if (stream_) source_.release(graph);
  if (!status.ok()) return Error(status.error());
  return values.take(target);
}

Result<Buffer> Forward::hidden(const Batch& batch, KvCache* cache) {
  const ModelGraph& model = source_.graph();
  VN_ASSIGN(Buffer x, run(model.embed, tables_.front(), batch, {}, cache, 0));
  for (std::size_t layer = 0; layer < model.blocks.size(); ++layer) {
    VN_ASSIGN(x, run(model.blocks[layer], tables_[1 + layer], batch, std::move(x), cache, static_cast<int>(layer)));
  }
  return x;
}

Result<Buffer> Forward::logits(const Buffer& hidden) {
  // The head treats rows alike: one sequence of as many tokens as there are rows.
  return run(source_.graph().head, tables_.back(), Batch::uniform(1, hidden.rows), hidden, nullptr, 0);
}

}  // namespace vernier
