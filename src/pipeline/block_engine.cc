#include "pipeline/block_engine.h"

#include <algorithm>

#include "base/fail.h"
#include "io/files.h"
#include "pipeline/block_run.h"

namespace vernier {
namespace {

// Tokens forwarded at once: enough rows that expanding a weight tile costs little beside its products.
constexpr std::int64_t unit_tokens = 1024;

class CalibratedEngine final : public BlockEngine {
 public:
  CalibratedEngine(const ModelSource& source, const CalibrationSet& calibration,
                   std::map<std::string, LinearPlan> plans, std::unique_ptr<Executor> executor, BlockMethods methods,
                   BlockEngineOptions options)
      : source_(source),
        calibration_(calibration),
        plans_(std::move(plans)),
        executor_(std::move(executor)),
        methods_(std::move(methods)),
        options_(std::move(options)),
        resources_{source_,          plans_,
                   options_.recipe,  methods_,
                   *executor_,       {calibration.samples, calibration.ctx},
                   options_.scratch, options_.recipe.calibration.spill == "f32" ? DType::f32 : DType::bf16} {}

  Status begin() override {
    VN_ASSIGN(const auto hidden, open_hidden(0));
    VN_TRY(embed_samples(source_, calibration_.ids, resources_.shape, *executor_, *hidden));
    return make_durable(*hidden);
  }

  Status run_block(int block, const EmitTensor& emit, std::vector<std::string>& notes) override {
    if (!file_exists(hidden_path(block))) {
      return fail(ErrorCode::not_found, "{}: the hidden states before block {} are missing", hidden_path(block), block);
    }
    VN_ASSIGN(const auto input, open_hidden(block));
    VN_ASSIGN(const auto output, open_hidden(block + 1));
    BlockRun run(resources_, block, *input, emit, notes, on_progress);
    VN_TRY(run.run(*output));
    return make_durable(*output);
  }

  Status forget(int block) override {
    if (!file_exists(hidden_path(block))) return {};
    VN_ASSIGN(const auto hidden, open_hidden(block));
    return hidden->remove();
  }

 private:
  std::string hidden_path(int block) const { return options_.scratch + "/hidden." + std::to_string(block); }

  Result<std::unique_ptr<SpillFile>> open_hidden(int block) const {
    return SpillFile::open(hidden_path(block), resources_.spill, resources_.shape.tokens(), source_.graph().hidden);
  }

  Status make_durable(SpillFile& file) const {
    VN_TRY(file.sync());
    return sync_directory(options_.scratch);
  }

  const ModelSource& source_;
  const CalibrationSet& calibration_;
  std::map<std::string, LinearPlan> plans_;
  std::unique_ptr<Executor> executor_;
  BlockMethods methods_;
  BlockEngineOptions options_;
  BlockResources resources_;  // of the above
};

}  // namespace

Result<std::unique_ptr<BlockEngine>> BlockEngine::make(const ModelSource& source, const CalibrationSet& calibration,
                                                       std::map<std::string, LinearPlan> plans,
                                                       std::unique_ptr<Executor> executor, BlockEngineOptions options) {
  const auto wanted = static_cast<std::size_t>(calibration.samples * calibration.ctx);
  if (wanted == 0 || calibration.ids.size() != wanted) {
    return fail(ErrorCode::invalid, "calibration: {} samples x {} tokens wanted, {} ids found", calibration.samples,
                calibration.ctx, calibration.ids.size());
  }
  const auto stranger = std::find_if(calibration.ids.begin(), calibration.ids.end(),
                                     [&](TokenId id) { return id < 0 || id >= source.graph().vocab; });
  if (stranger != calibration.ids.end()) {
    return fail(ErrorCode::invalid, "calibration: token id {} is outside the vocabulary of {}", *stranger,
                source.graph().vocab);
  }
  VN_ASSIGN(BlockMethods methods, BlockMethods::make(options.recipe));
  VN_TRY(make_directories(options.scratch));
  return std::unique_ptr<BlockEngine>(std::make_unique<CalibratedEngine>(
      source, calibration, std::move(plans), std::move(executor), std::move(methods), std::move(options)));
}

std::int64_t BlockEngine::forward_sequences(std::int64_t ctx) {
  return std::max<std::int64_t>(1, unit_tokens / std::max<std::int64_t>(1, ctx));
}

double BlockEngine::block_work(const Graph& block, std::int64_t tokens) {
  std::vector<int> ops(block.ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) ops[i] = static_cast<int>(i);
  return static_cast<double>(tokens) * matrix_elements(block, ops);
}

}  // namespace vernier
