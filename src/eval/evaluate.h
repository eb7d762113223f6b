// Perplexity, KL against a reference and task accuracy, streamed: logits exist a tile of rows at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/source.h"
#include "base/json.h"
#include "kernels/kv/page.h"
#include "runtime/executor.h"
#include "vernier/tokenizer.h"

namespace vernier {

enum class Protocol { window, gptq, llamacpp };  // design.md, "Numbers"
Result<Protocol> parse_protocol(std::string_view name);

struct EvalOptions {
  std::int64_t ctx = 256;
  std::int64_t max_tokens = 0;  // the first N tokens of the text; 0: all
  Protocol protocol = Protocol::window;
  std::int64_t memory_bytes = 0;  // 0: unbounded; else weights are streamed and chunks cut to fit
  // The model's keys and values go through a KV cache of this type (a reference's do not).
  std::optional<kernels::KvType> kv;
  ExecutorOptions executor;  // how the model's packed weights are multiplied (a reference's: in float)
};

struct EvalResult {
  Json figures;  // keys of the metrics: perplexity, kl_mean, kl_median, kl_p99, top1_agreement, reference_perplexity
  std::int64_t tokens = 0;  // scored
  double seconds = 0;
  std::int64_t peak_resident_bytes = 0;
};
Json to_json(const EvalResult& result);  // figures, tokens, seconds, peak_resident_bytes

// `reference` may be null. The two must share a vocabulary size.
Result<EvalResult> evaluate(const ModelSource& model, const ModelSource* reference, const Tokenizer& tokenizer,
                            const std::string& text, const EvalOptions& options);

// One multiple-choice question of a tasks file: {"context": "...", "choices": ["...", ...], "answer": 0}.
struct TaskResult {
  std::int64_t questions = 0;
  double accuracy = 0;             // by summed log-likelihood
  double accuracy_normalized = 0;  // by log-likelihood per byte of the choice
};
Result<TaskResult> evaluate_tasks(const ModelSource& model, const Tokenizer& tokenizer, const std::string& jsonl,
                                  const std::string& where, const EvalOptions& options);

}  // namespace vernier
