#include "runtime/generate.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "base/interrupt.h"

namespace vernier {

Result<std::vector<TokenId>> generate(Forward& model, std::vector<TokenId> prompt, const GenerateOptions& options,
                                      const std::function<bool(TokenId)>& on_token) {
  // No more positions than this text can reach.
  const std::int64_t most = model.graph().max_positions;
  const std::int64_t wanted = static_cast<std::int64_t>(prompt.size()) + std::max<std::int64_t>(options.max_tokens, 1);
  VN_ASSIGN(const auto engine,
            Engine::open(model, {.kv = options.kv, .context = most > 0 ? std::min(most, wanted) : wanted}));
  Request request;
  request.prompt = std::move(prompt);
  request.sampler = options.sampler;
  request.max_tokens = options.max_tokens;
  request.stop = options.stop;
  request.on_token = on_token;
  VN_ASSIGN(const Engine::Id id, engine->submit(std::move(request)));
  while (!engine->idle()) {
    VN_TRY(check_interrupt());
    VN_TRY(engine->step());
  }
  return engine->take(id)->tokens;
}

}  // namespace vernier
