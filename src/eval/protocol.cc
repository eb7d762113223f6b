#include "eval/protocol.h"

#include "base/fail.h"

namespace vernier {

Result<Protocol> parse_protocol(std::string_view name) {
  if (name == "window") return Protocol::window;
  if (name == "gptq") return Protocol::gptq;
  if (name == "llamacpp") return Protocol::llamacpp;
  return fail(ErrorCode::invalid, "protocol \"{}\" is not window, gptq or llamacpp", name);
}

namespace {

// One stream, led by BOS where asked, in pieces of ctx; the tail is dropped.
std::vector<TokenId> stream_pieces(const std::vector<TokenId>& text, std::optional<TokenId> bos, std::int64_t ctx) {
  std::vector<TokenId> ids;
  ids.reserve(text.size() + 1);
  if (bos) ids.push_back(*bos);
  ids.insert(ids.end(), text.begin(), text.end());
  ids.resize(ids.size() / ctx * ctx);
  return ids;
}

std::vector<TokenId> window_pieces(const std::vector<TokenId>& text, TokenId bos, std::int64_t ctx) {
  const std::int64_t body = ctx - 1, count = static_cast<std::int64_t>(text.size()) / body;
  std::vector<TokenId> ids;
  ids.reserve(count * ctx);
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(bos);
    ids.insert(ids.end(), text.begin() + i * body, text.begin() + (i + 1) * body);
  }
  return ids;
}

}  // namespace

Result<Pieces> cut_pieces(std::vector<TokenId> text, const Tokenizer& tokenizer, Protocol protocol, std::int64_t ctx) {
  const std::int64_t smallest = protocol == Protocol::llamacpp ? 4 : 2;
  if (ctx < smallest) return fail(ErrorCode::invalid, "a context of {} tokens: at least {} are needed", ctx, smallest);
  const std::optional<TokenId> leading = tokenizer.add_bos ? tokenizer.bos : std::nullopt;
  Pieces pieces;
  pieces.length = ctx;
  switch (protocol) {
    case Protocol::window:
      pieces.ids = tokenizer.bos ? window_pieces(text, *tokenizer.bos, ctx) : stream_pieces(text, std::nullopt, ctx);
      break;
    case Protocol::gptq:
      pieces.ids = stream_pieces(text, leading, ctx);
      break;
    case Protocol::llamacpp:
      pieces.ids = stream_pieces(text, leading, ctx);
      if (leading) {
        for (std::int64_t i = 0; i < pieces.count(); ++i) pieces.ids[i * ctx] = *leading;
      }
      pieces.first_target = ctx / 2 + 1;
      break;
  }
  if (pieces.count() == 0) {
    return with_hint(
        fail(ErrorCode::invalid, "the text is too short: {} tokens found, a context of {} needs about as many",
             text.size(), ctx),
        "give a longer text or a smaller --ctx");
  }
  return pieces;
}

}  // namespace vernier
