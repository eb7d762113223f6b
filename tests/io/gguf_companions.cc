// The tokenizer files made of GGUF metadata give the ids that the metadata gives.
#include "io/tokenizer/gguf_companions.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "io/files.h"
#include "support/support.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

using testing::TempDir;

std::string golden(const std::string& name) {
  return testing::source_dir() + "/tests/golden/gguf/tokenizer-" + name + ".gguf";
}

class GgufCompanions : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto files = gguf_companions(golden(GetParam()));
    VN_ASSERT_OK(files);
    for (const MadeFile& file : *files) VN_ASSERT_OK(write_file_atomic(dir_.path(file.name), file.text));
  }
  TempDir dir_;
};

TEST_P(GgufCompanions, GiveTheSameIdsAndSpecialTokens) {
  const auto wanted = open_tokenizer(golden(GetParam())), found = open_tokenizer(dir_.path());
  VN_ASSERT_OK(wanted);
  VN_ASSERT_OK(found);
  EXPECT_EQ((*found)->bos, (*wanted)->bos);
  EXPECT_EQ((*found)->eos, (*wanted)->eos);
  EXPECT_EQ((*found)->add_bos, (*wanted)->add_bos);
  std::vector<std::string> texts{"It was a dark and stormy night; the rain fell in torrents.", "  two  spaces", "",
                                 "<s>not a token", "na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8D\x8E\n\ttab"};
  const std::string path = testing::source_dir() + "/tests/golden/tokenizers/" + GetParam() + "/cases.json";
  if (file_exists(path))
    for (const Json& c : parse_json(read_text_file(path).value(), path).value()) texts.push_back(c["text"]);
  for (const std::string& text : texts)
    for (const bool special : {false, true}) {
      const auto ids = (*wanted)->encode(text, special);
      EXPECT_EQ((*found)->encode(text, special), ids) << text;
      EXPECT_EQ((*found)->decode(ids, special), (*wanted)->decode(ids, special)) << text;
    }
}

TEST_P(GgufCompanions, KeepTheChatTemplate) {
  const auto wanted = ChatTemplate::open(golden(GetParam())), found = ChatTemplate::open(dir_.path());
  ASSERT_EQ(found.ok(), wanted.ok());
  if (!wanted.ok()) return;
  const std::vector<ChatMessage> messages{{"user", "Is it late?"}};
  EXPECT_EQ(found->render(messages, true).value(), wanted->render(messages, true).value());
}

INSTANTIATE_TEST_SUITE_P(Families, GgufCompanions, ::testing::Values("llama3", "qwen2", "books-6m"),
                         [](const auto& info) { return "case" + std::to_string(info.index); });

TEST(GgufCompanionsOf, AFileWithoutVocabularyAreNone) {
  const auto files = gguf_companions(testing::source_dir() + "/tests/golden/gguf/llama.gguf");
  VN_ASSERT_OK(files);
  EXPECT_TRUE(files->empty());
  EXPECT_FALSE(gguf_companions(testing::source_dir() + "/tests/golden/gguf/absent.gguf").ok());
}

}  // namespace
}  // namespace vernier
