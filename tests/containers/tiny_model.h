// A one-block llama of random weights, small enough to be rewritten for every case.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier::testing {

struct TinyModel {
  Json config;
  std::vector<std::pair<std::string, Tensor>> tensors;

  // hidden 64, intermediate 96, 4 heads, 2 key heads, vocab 32, untied, bf16.
  static TinyModel make();
  Tensor& operator[](const std::string& name);
  void rename(const std::string& from, const std::string& to);
  void erase(const std::string& name);

  // config.json and model.safetensors.
  Status write(const std::string& folder) const;
  // A written folder as it is on disk, to be changed and written again.
  static Result<TinyModel> read(const std::string& folder);
};

}  // namespace vernier::testing
