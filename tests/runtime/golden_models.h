// Checkpoints with known logits: tests/golden/architectures (made by tests/golden/make_architectures.py), and the
// reference models beside the project.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "arch/source.h"
#include "vernier/tokenizer.h"

namespace vernier::testing {

// A source straight on a checkpoint; `changes` replace keys of its config.
Result<std::unique_ptr<ModelSource>> open_checkpoint_source(const std::string& folder,
                                                            const Json& changes = Json::object());

// One folder of tests/golden/architectures.
struct GoldenCase {
  std::string name, folder;
  std::vector<TokenId> ids;
  std::vector<std::vector<float>> logits;  // [tokens][vocab]
  struct Toggle {
    Json set;      // config keys replaced
    bool changes;  // whether the logits then differ
    std::vector<float> logits_last;
  };
  std::vector<Toggle> toggles;
};
std::vector<std::string> golden_case_names();
GoldenCase load_golden_case(const std::string& name);

// A file of ../shared/golden with its model.
struct GoldenModel {
  std::vector<TokenId> ids, greedy_continuation;
  std::vector<float> logits_last;
  std::vector<std::vector<TokenId>> top5_each_position;
};
GoldenModel load_golden_model(const std::string& name);

}  // namespace vernier::testing
