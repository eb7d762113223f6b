// A model that is ready to produce logits and text.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/executor.h"
#include "runtime/kv_cache.h"

namespace vernier {

// Forward passes of a whole model on one source. Weights stay mapped unless `stream` gives each block's pages back
// after use (for memory budgets below the model's size).
class Forward {
 public:
  static Result<std::unique_ptr<Forward>> open(const ModelSource& source, bool stream);

  // Hidden states before the head, [rows, hidden].
  Result<Buffer> hidden(const Batch& batch, KvCache* cache = nullptr);
  // Final norm and head on rows of hidden states: logits [rows, vocab].
  Result<Buffer> logits(const Buffer& hidden);

 private:
  explicit Forward(const ModelSource& source) : source_(source) {}
  Result<Buffer> run(const Graph& graph, const WeightTable& table, const Batch& batch, Buffer input, KvCache* cache,
                     int layer);
  const ModelSource& source_;
  std::unique_ptr<Executor> executor_;
  bool stream_ = false;
  std::vector<WeightTable> tables_;  // embed, blocks, head; matrices are views, vectors are resident
};

struct SamplerOptions {
  float temperature = 0;  // 0: greedy
  int top_k = 0;          // 0: all
  float top_p = 1;
  std::uint64_t seed = 0;
};
// One token from logits [vocab]; `step` numbers the draws of a sequence. Ties go to the lower id.
TokenId sample(std::span<const float> logits, const SamplerOptions& options, std::uint64_t step);

struct GenerateOptions {
  SamplerOptions sampler;
  std::int64_t max_tokens = 128;
  std::vector<TokenId> stop;  // ends the text; not part of it
};
// Continues `prompt` (BOS already in it where the model wants one). `on_token` sees every token as it is drawn and may
// return false to stop. Returns the new tokens.
Result<std::vector<TokenId>> generate(Forward& model, const ModelGraph& graph, std::vector<TokenId> prompt,
                                      const GenerateOptions& options,
                                      const std::function<bool(TokenId)>& on_token = {});

}  // namespace vernier
