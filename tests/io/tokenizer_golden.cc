// Ids and text of the tiny tokenizers in tests/golden/tokenizers, against the library their file format comes from.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "io/files.h"
#include "io/tokenizer/hf_tokenizer.h"
#include "support/support.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

using testing::bundled_model;
using testing::shared_dir;
using testing::source_dir;

class GoldenTokenizer : public ::testing::TestWithParam<const char*> {
 protected:
  std::string folder() const { return source_dir() + "/tests/golden/tokenizers/" + GetParam(); }
};

TEST_P(GoldenTokenizer, IdsAndTextAreExact) {
  auto tokenizer = open_tokenizer(folder());
  VN_ASSERT_OK(tokenizer);
  auto text = read_text_file(folder() + "/cases.json");
  VN_ASSERT_OK(text);
  auto cases = parse_json(*text, "cases.json");
  VN_ASSERT_OK(cases);
  ASSERT_GT(cases->size(), 40u);
  for (const Json& c : *cases) {
    const auto input = c["text"].get<std::string>();
    const auto ids = c["ids_special"].get<std::vector<TokenId>>();
    EXPECT_EQ((*tokenizer)->encode(input), c["ids"].get<std::vector<TokenId>>()) << "text " << c["text"];
    EXPECT_EQ((*tokenizer)->encode(input, true), ids) << "text " << c["text"];
    EXPECT_EQ((*tokenizer)->decode(ids), c["decoded"].get<std::string>()) << "text " << c["text"];
    EXPECT_EQ((*tokenizer)->decode(ids, true), c["decoded_special"].get<std::string>()) << "text " << c["text"];
  }
}

TEST_P(GoldenTokenizer, StreamingGivesTheWholeText) {
  auto tokenizer = open_tokenizer(folder());
  VN_ASSERT_OK(tokenizer);
  auto text = read_text_file(folder() + "/cases.json");
  VN_ASSERT_OK(text);
  auto cases = parse_json(*text, "cases.json");
  VN_ASSERT_OK(cases);
  std::vector<TokenId> all;
  for (const Json& c : *cases) {
    const auto ids = c["ids_special"].get<std::vector<TokenId>>();
    all.insert(all.end(), ids.begin(), ids.end());
  }
  StreamDecoder stream(**tokenizer);
  std::string streamed;
  for (const TokenId id : all) streamed += stream.push(id);
  streamed += stream.finish();
  EXPECT_EQ(streamed, (*tokenizer)->decode(all));
}

TEST_P(GoldenTokenizer, PiecesAndIdsAreInverse) {
  auto tokenizer = open_tokenizer(folder());
  VN_ASSERT_OK(tokenizer);
  for (TokenId id = 0; id < (*tokenizer)->vocab_size(); ++id) {
    const std::string piece = (*tokenizer)->piece(id);
    if (piece.empty()) continue;
    EXPECT_EQ((*tokenizer)->id_of(piece), id) << piece;
  }
  EXPECT_EQ((*tokenizer)->piece(-1), "");
  EXPECT_EQ((*tokenizer)->piece(1 << 30), "");
}

TEST_P(GoldenTokenizer, InvalidUtf8IsReplaced) {
  auto tokenizer = open_tokenizer(folder());
  VN_ASSERT_OK(tokenizer);
  const std::string broken = "ab\xFF\xE4\xB8 \xC0\xAF\xED\xA0\x80 end\xF0\x9F";
  EXPECT_EQ((*tokenizer)->encode(broken), (*tokenizer)->encode(sanitize_utf8(broken)));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTokenizer,
                         ::testing::Values("llama3", "qwen2", "llama2", "metaspace", "metaspace_words",
                                           "byte_level_digits", "splits"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, TemplateTellsWhetherBosIsAdded) {
  const std::string folder = source_dir() + "/tests/golden/tokenizers/";
  auto with = open_tokenizer(folder + "llama3");
  VN_ASSERT_OK(with);
  EXPECT_TRUE((*with)->add_bos);
  EXPECT_EQ((*with)->piece((*with)->bos.value_or(-1)), "<|begin_of_text|>");
  auto without = open_tokenizer(folder + "qwen2");
  VN_ASSERT_OK(without);
  EXPECT_FALSE((*without)->add_bos);
}

// A text of one word: byte-pair encoding must not be quadratic in it.
TEST(Tokenizer, LongWordsTakeReasonableTime) {
  for (const char* family : {"metaspace", "llama2", "llama3"}) {
    auto tokenizer = open_tokenizer(source_dir() + "/tests/golden/tokenizers/" + family);
    VN_ASSERT_OK(tokenizer);
    std::string text;
    for (std::size_t i = 0; text.size() < 100'000; ++i) text += "thequickbrownfox"[i * i % 16];
    const auto ids = (*tokenizer)->encode(text);
    EXPECT_EQ((*tokenizer)->decode(ids), text) << family;
    const std::string spaces(50'000, ' ');
    EXPECT_FALSE((*tokenizer)->encode(spaces + "x").empty()) << family;
  }
}

void expect_golden_model(const std::string& folder, const std::string& golden) {
  auto tokenizer = open_tokenizer(folder);
  VN_ASSERT_OK(tokenizer);
  auto text = read_text_file(golden);
  VN_ASSERT_OK(text);
  auto json = parse_json(*text, golden);
  VN_ASSERT_OK(json);
  ASSERT_TRUE((*tokenizer)->add_bos);
  std::vector<TokenId> ids = {*(*tokenizer)->bos};
  for (const TokenId id : (*tokenizer)->encode((*json)["prompt"].get<std::string>())) ids.push_back(id);
  EXPECT_EQ(ids, (*json)["ids"].get<std::vector<TokenId>>());
  const auto continuation = (*json)["greedy_continuation"].get<std::vector<TokenId>>();
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  EXPECT_EQ((*tokenizer)->decode(ids), (*json)["greedy_text"].get<std::string>());
  StreamDecoder stream(**tokenizer);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  EXPECT_EQ(streamed + stream.finish(), (*json)["greedy_text"].get<std::string>());
}

TEST(SentencePiece, MatchesGolden) {
  VN_NEEDS_SHARED();
  for (const std::string model : {"books-6m", "stories260k"}) {
    SCOPED_TRACE(model);
    expect_golden_model(shared_dir() + "/models/" + model, shared_dir() + "/golden/" + model + ".json");
  }
}

}  // namespace
}  // namespace vernier
