// One text, start to end: the engine with a single sequence.
#pragma once

#include <functional>
#include <vector>

#include "runtime/engine.h"

namespace vernier {

struct GenerateOptions {
  SamplerOptions sampler;
  std::int64_t max_tokens = 128;
  std::vector<TokenId> stop;  // ends the text; not part of it
  KvType kv = KvType::f32;
};
// Continues `prompt` (BOS already in it where the model wants one). `on_token` sees every token as it is drawn and may
// return false to stop. Returns the new tokens.
Result<std::vector<TokenId>> generate(Forward& model, std::vector<TokenId> prompt, const GenerateOptions& options,
                                      const std::function<bool(TokenId)>& on_token = {});

}  // namespace vernier
