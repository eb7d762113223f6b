// vernier quantize --container gguf: the file holds the very weights that the vernier container holds.
#include <algorithm>

#include "containers/container.h"
#include "support/support.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

std::vector<float> decoded(const ModelSource& source, const SourceTensor& tensor) {
  std::vector<float> values(tensor.shape.elements());
  if (tensor.shape.rank() == 1) {
    const Tensor vector = source.vector(tensor.name).value();
    std::copy(vector.as<float>().begin(), vector.as<float>().end(), values.begin());
  } else {
    source.matrix(tensor.name).value()->decode_rows(0, tensor.shape[0], values.data());
  }
  return values;
}

void expect_same_weights(const std::string& model, std::vector<std::string> recipe) {
  const testing::TempDir dir;
  std::vector<std::string> arguments{"quantize", model, "--fresh", "-o"};
  for (const char* container : {"vernier", "gguf"}) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {dir.path(container), "--container", container});
    all.insert(all.end(), recipe.begin(), recipe.end());
    const Outcome run = run_vernier(all);
    ASSERT_EQ(run.exit_code, 0) << run.err;
  }
  const auto wanted = open_model(dir.path("vernier")), found = open_model(dir.path("gguf") + "/model.gguf");
  VN_ASSERT_OK(wanted);
  VN_ASSERT_OK(found);
  VN_EXPECT_OK(open_model(dir.path("gguf")));
  EXPECT_EQ((*found)->tensors().size(), (*wanted)->tensors().size());
  for (const SourceTensor& tensor : (*wanted)->tensors()) {
    SCOPED_TRACE(tensor.name);
    EXPECT_EQ(decoded(**found, tensor), decoded(**wanted, tensor));
  }
  const Graph &a = (*found)->graph().blocks[0], &b = (*wanted)->graph().blocks[0];
  ASSERT_EQ(a.ops.size(), b.ops.size());
  for (std::size_t i = 0; i < a.ops.size(); ++i) {
    EXPECT_EQ(a.ops[i].eps, b.ops[i].eps);
    EXPECT_EQ(a.ops[i].window, b.ops[i].window);
    const auto &f = a.ops[i].rope.inverse_frequency, &w = b.ops[i].rope.inverse_frequency;
    ASSERT_EQ(f.size(), w.size());
    for (std::size_t j = 0; j < f.size(); ++j) EXPECT_NEAR(f[j] / w[j], 1, 1e-6);
  }
}

std::string architecture(const std::string& name) {
  return testing::source_dir() + "/tests/golden/architectures/" + name;
}

// Names, the order of q and k rows, stacks of experts, positions.
TEST(GgufOutput, HoldsTheWeightsOfEveryArchitecture) {
  const std::vector<std::string> narrow{"--recipe", "gguf-q8_0", "--set", R"(ignore=["*down_proj*", "*.gate.weight"])"};
  for (const char* name : {"llama", "llama-biases", "llama-linear", "llama-llama3", "llama-tied", "mistral", "qwen3"}) {
    SCOPED_TRACE(name);
    expect_same_weights(architecture(name), narrow);
  }
  expect_same_weights(architecture("mixtral"), {"--recipe", "gguf-q4_0"});
}

TEST(GgufOutput, HoldsBlockTypesAndTheirIntegers) {
  const std::string books = testing::bundled_model();
  expect_same_weights(books, {"--recipe", "gguf-q4_k", "--set", "range=minmax"});
  for (const char* bits : {"4", "5", "8"})
    expect_same_weights(books, {"--recipe", "w4a16-rtn", "--set", std::string("weights.bits=") + bits, "--set",
                                "group=32", "--set", "weights.symmetric=true", "--set", "scale_dtype=f16"});
}

TEST(GgufOutput, KeepsTheTokenizer) {
  const testing::TempDir dir;
  const Outcome run = run_vernier({"quantize", testing::bundled_model(), "--fresh", "-o", dir.path("out"), "--recipe",
                                   "gguf-q8_0", "--container", "gguf"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto own = open_tokenizer(testing::bundled_model()), kept = open_tokenizer(dir.path("out") + "/model.gguf");
  VN_ASSERT_OK(own);
  VN_ASSERT_OK(kept);
  EXPECT_EQ((*kept)->bos, (*own)->bos);
  EXPECT_EQ((*kept)->eos, (*own)->eos);
  EXPECT_EQ((*kept)->add_bos, (*own)->add_bos);
  for (const std::string text : {"The rain fell in torrents.", "  two  spaces", "na\xC3\xAFve \xE6\x97\xA5\n\ttab"}) {
    EXPECT_EQ((*kept)->encode(text), (*own)->encode(text)) << text;
    EXPECT_EQ((*kept)->decode((*own)->encode(text)), (*own)->decode((*own)->encode(text))) << text;
  }
}

TEST(GgufOutput, RefusesWhatItCannotHold) {
  const testing::TempDir dir;
  const auto refused = [&](const std::string& model, std::vector<std::string> more, const char* what) {
    std::vector<std::string> all{"quantize", model, "-o", dir.path("out"), "--container", "gguf"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome run = run_vernier(all);
    EXPECT_NE(run.exit_code, 0);
    EXPECT_NE(run.err.find(what), std::string::npos) << run.err;
  };
  refused(testing::bundled_model(), {"--recipe", "w4a16-rtn"}, "none of its block types");
  refused(architecture("llama"), {"--recipe", "gguf-q4_k"}, "not whole blocks of 256");
  refused(architecture("opt"), {"--recipe", "gguf-q8_0"}, "no GGUF architecture");
  refused(architecture("qwen2"), {"--recipe", "gguf-q8_0", "--set", R"(ignore=["*down_proj*"])"}, "use_sliding_window");
}

}  // namespace
}  // namespace vernier
