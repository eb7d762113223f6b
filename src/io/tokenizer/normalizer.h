// Normalizers of tokenizer.json: text rewritten before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tokenizer/component.h"
#include "vernier/status.h"

namespace vernier {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;  // valid UTF-8 in and out
};

// "NFC" and its kin, "Lowercase", "Prepend", "Replace", "Strip", and sequences of them; null is an empty list.
Result<std::vector<std::unique_ptr<Normalizer>>> make_normalizers(const JsonTree& json, const std::string& where);

std::string normalize(const std::vector<std::unique_ptr<Normalizer>>& normalizers, std::string text);

}  // namespace vernier
