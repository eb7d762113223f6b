// Any bytes as a tokenizer.json: refused with an error, or a tokenizer that encodes, decodes and streams.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "io/tokenizer/hf_tokenizer.h"
#include "vernier/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vernier::set_log_level(vernier::LogLevel::off);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = vernier::parse_tokenizer_json(text, "input");
  if (!tokenizer.ok()) return 0;
  const vernier::Tokenizer& t = **tokenizer;
  const auto ids = t.encode(" Hi, it's 42\n\xC3\xA9\xFF <s>", /*parse_special=*/true);
  t.decode(ids, /*with_special=*/true);
  vernier::StreamDecoder stream(t);
  for (const vernier::TokenId id : ids) stream.push(id);
  stream.finish();
  return 0;
}
