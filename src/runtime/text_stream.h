// Text of one sequence as it becomes final, ended by stop strings.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vernier/tokenizer.h"

namespace vernier {

class TextStream {
 public:
  // Continues the text of `prompt`, which is not repeated: what a token reads as can depend on the ones before it.
  TextStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt, std::vector<std::string> stop_strings);

  // The text that became final: nothing that may still turn out to be the start of a stop string, or half a character.
  std::string push(TokenId id);
  std::string finish();  // what was held back; nothing once stopped
  bool stopped() const { return stopped_; }

 private:
  std::string release(std::string text);

  StreamDecoder decoder_;
  std::vector<std::string> stop_strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace vernier
