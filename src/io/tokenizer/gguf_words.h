// What GGUF metadata says of a vocabulary by number and by name.
#pragma once

#include <string_view>

namespace vernier {

// tokenizer.ggml.token_type; the numbers of SentencePiece.
enum PieceType {
  piece_normal = 1,
  piece_unknown = 2,
  piece_control = 3,
  piece_user = 4,
  piece_unused = 5,
  piece_byte = 6
};

inline constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view llama3_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view tekken_words =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// What a name in tokenizer.ggml.pre stands for.
struct WordRule {
  std::string_view name, pattern;
  bool whole_words = false;  // a word that is a token is not merged from its parts
  bool compose = false;      // text is brought to NFC first
  bool add_bos = false;      // where the file does not say
};
inline constexpr WordRule word_rules[] = {
    {"gpt-2", gpt2_words},
    {"llama-bpe", llama3_words, true, false, true},
    {"llama3", llama3_words, true, false, true},
    {"llama-v3", llama3_words, true, false, true},
    {"smaug-bpe", llama3_words},
    {"qwen2", qwen2_words, false, true},
    {"deepseek-r1-qwen", qwen2_words},
    {"tekken", tekken_words, true, false, true},
};

}  // namespace vernier
