// Logits of whole models, for tests of rewrites that must not change them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "arch/source.h"
#include "base/json.h"
#include "io/files.h"
#include "runtime/forward.h"
#include "support/support.h"

namespace vernier::testing {

// tests/golden/architectures: one folder each, with logits from an independent implementation in expected.json.
inline std::string golden_folder(const std::string& name) {
  return source_dir() + "/tests/golden/architectures/" + name;
}
inline std::vector<std::string> golden_names() { return list_directory(golden_folder("")); }
inline std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

struct ExpectedLogits {
  std::vector<TokenId> ids;
  std::vector<std::vector<float>> logits;  // [tokens][vocab]
};
inline ExpectedLogits expected_logits(const std::string& name) {
  const Json json = Json::parse(read_file(golden_folder(name) + "/expected.json"));
  return {json.at("ids").get<std::vector<TokenId>>(), json.at("logits").get<std::vector<std::vector<float>>>()};
}

inline Result<Buffer> model_logits(const ModelSource& source, const std::vector<TokenId>& ids) {
  VN_ASSIGN(const auto forward, Forward::open(source, false));
  Batch batch = Batch::uniform(1, static_cast<std::int64_t>(ids.size()));
  batch.ids = ids;
  VN_ASSIGN(const Buffer hidden, forward->hidden(batch));
  return forward->logits(hidden);
}

inline double largest_difference(const Buffer& found, const std::vector<std::vector<float>>& wanted) {
  double most = 0;
  for (std::int64_t r = 0; r < found.rows; ++r)
    for (std::int64_t c = 0; c < found.cols; ++c)
      most = std::max(most, static_cast<double>(std::abs(found.matrix()(r, c) - wanted[r][c])));
  return most;
}

}  // namespace vernier::testing
