#include "pipeline/calibration.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "containers/container.h"
#include "pipeline/calibration_text.h"
#include "support/support.h"

namespace vernier {
namespace {

using Ids = std::vector<TokenId>;

Recipe::Calibration options(std::int64_t samples, std::int64_t ctx, std::uint64_t seed = 0) {
  Recipe::Calibration calibration;
  calibration.samples = samples;
  calibration.ctx = ctx;
  calibration.seed = seed;
  return calibration;
}

Ids counting(std::int64_t count) {
  Ids ids(count);
  for (std::int64_t i = 0; i < count; ++i) ids[i] = static_cast<TokenId>(i + 10);
  return ids;
}

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

TEST(CutSamples, SeedZeroTakesTheFirstPiecesInOrder) {
  const auto ids = cut_samples(counting(20), 1, options(2, 4), "text");
  VN_ASSERT_OK(ids);
  EXPECT_EQ(ids.value(), (Ids{1, 10, 11, 12, 1, 13, 14, 15}));
}

TEST(CutSamples, OtherSeedsPickDistinctPieces) {
  const auto a = cut_samples(counting(300), 1, options(50, 4, 7), "text");
  const auto again = cut_samples(counting(300), 1, options(50, 4, 7), "text");
  const auto other = cut_samples(counting(300), 1, options(50, 4, 8), "text");
  VN_ASSERT_OK(a);
  EXPECT_EQ(a.value(), again.value());
  EXPECT_NE(a.value(), other.value());
  std::set<TokenId> starts;
  for (std::size_t i = 0; i < a.value().size(); i += 4) {
    EXPECT_EQ(a.value()[i], 1);
    EXPECT_EQ((a.value()[i + 1] - 10) % 3, 0);
    EXPECT_EQ(a.value()[i + 2], a.value()[i + 1] + 1);
    starts.insert(a.value()[i + 1]);
  }
  EXPECT_EQ(starts.size(), 50u);
}

TEST(CutSamples, WithoutBosPiecesAreCtxLong) {
  const auto ids = cut_samples(counting(8), std::nullopt, options(2, 4), "text");
  VN_ASSERT_OK(ids);
  EXPECT_EQ(ids.value(), counting(8));
}

TEST(CutSamples, TooShortTextsNameWhatWorks) {
  const auto some = cut_samples(counting(20), 1, options(7, 4), "novel.txt");
  ASSERT_FALSE(some.ok());
  EXPECT_NE(some.error().text().find("novel.txt"), std::string::npos);
  EXPECT_NE(some.error().text().find("20 tokens found"), std::string::npos);
  EXPECT_NE(some.error().hint.find("--samples 6"), std::string::npos);
  VN_EXPECT_OK(cut_samples(counting(20), 1, options(6, 4), "novel.txt"));
  EXPECT_FALSE(cut_samples({}, 1, options(1, 4), "empty.txt").ok());
}

class Calibration : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_model(testing::bundled_model());
    VN_ASSERT_OK(opened);
    source_ = std::move(opened).value();
  }
  std::unique_ptr<ModelSource> source_;
  testing::TempDir dir_;
};

TEST_F(Calibration, TextAndTheSameTextAsJsonLinesAgree) {
  const std::string sentence = "The old man walked along the river and thought of his house. ";
  std::string text;
  for (int i = 0; i < 20; ++i) text += sentence;
  write(dir_.path("a.txt"), text);
  write(dir_.path("b.jsonl"), "{\"text\": \"" + text + "\"}\n\n");
  const auto a = load_calibration(*source_, dir_.path("a.txt"), options(4, 32));
  const auto b = load_calibration(*source_, dir_.path("b.jsonl"), options(4, 32));
  VN_ASSERT_OK(a);
  VN_ASSERT_OK(b);
  EXPECT_EQ(a.value().ids, b.value().ids);
  EXPECT_EQ(a.value().fingerprint, b.value().fingerprint);
  EXPECT_EQ(a.value().ids.size(), 4u * 32);
  EXPECT_EQ(a.value().ids[32], 1);
  EXPECT_NE(a.value().description.find("a.txt"), std::string::npos);
}

TEST_F(Calibration, BadJsonLinesNameTheLine) {
  for (const char* bad :
       {"{\"text\": 3}", "{\"text\": \"a\"", "[]", "{\"messages\": [{\"role\": \"user\"}]}", "{\"messages\": []}"}) {
    write(dir_.path("bad.jsonl"), std::string("{\"text\": \"fine\"}\n\n") + bad + "\n");
    const auto refused = load_calibration(*source_, dir_.path("bad.jsonl"), options(1, 8));
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.error().message.find("bad.jsonl:3"), std::string::npos) << refused.error().text();
  }
}

TEST_F(Calibration, InvalidUtf8IsNotFatal) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "a wind \xFF\xC3 over the hills ";
  write(dir_.path("bytes.txt"), text);
  VN_EXPECT_OK(load_calibration(*source_, dir_.path("bytes.txt"), options(2, 32)));
  write(dir_.path("bytes.jsonl"), "{\"text\": \"" + text + "\"}\n");
  VN_EXPECT_OK(load_calibration(*source_, dir_.path("bytes.jsonl"), options(2, 32)));
}

TEST_F(Calibration, ConversationsGoThroughTheChatTemplate) {
  namespace fs = std::filesystem;
  const std::string folder = dir_.path("chat");
  fs::create_directory(folder);
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.model"})
    fs::create_symlink(testing::bundled_model() + "/" + file, folder + "/" + file);
  write(folder + "/tokenizer_config.json",
        R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true, "chat_template":
           "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"})");
  auto model = open_model(folder);
  VN_ASSERT_OK(model);
  std::string lines;
  for (int i = 0; i < 8; ++i) {
    lines += R"({"messages": [{"role": "user", "content": "How was the night?"},)"
             R"( {"role": "assistant", "content": "It was dark."}]})"
             "\n";
  }
  write(folder + "/chat.jsonl", lines);
  const auto set = load_calibration(*model.value(), folder + "/chat.jsonl", options(2, 32));
  VN_ASSERT_OK(set);
  const auto tokenizer = open_tokenizer(folder);
  VN_ASSERT_OK(tokenizer);
  const Ids sample(set.value().ids.begin(), set.value().ids.begin() + 32);
  EXPECT_EQ(sample[0], 1);
  EXPECT_NE(sample[1], 1) << "one BOS, not two";
  const std::string text = tokenizer.value()->decode(sample);
  EXPECT_EQ(text.rfind("[user] How was the night?\n[assistant] It was dark.\n", 0), 0u) << text;
  // Without a template there is nothing to render with.
  const auto refused = load_calibration(*source_, folder + "/chat.jsonl", options(2, 32));
  EXPECT_FALSE(refused.ok());
}

TEST_F(Calibration, RandomIdsAreSeededAndInRange) {
  const auto a = load_calibration(*source_, "random", options(3, 16, 5));
  const auto b = load_calibration(*source_, "random", options(3, 16, 5));
  const auto c = load_calibration(*source_, "random", options(3, 16, 6));
  VN_ASSERT_OK(a);
  EXPECT_EQ(a.value().ids, b.value().ids);
  EXPECT_NE(a.value().fingerprint, c.value().fingerprint);
  EXPECT_LT(*std::max_element(a.value().ids.begin(), a.value().ids.end()), source_->graph().vocab);
  EXPECT_EQ(a.value().ids[16], 1);
}

TEST_F(Calibration, TheModelWritesItsOwnText) {
  const auto a = load_calibration(*source_, "self", options(3, 24, 1));
  const auto b = load_calibration(*source_, "self", options(3, 24, 1), 1 << 20);
  VN_ASSERT_OK(a);
  VN_ASSERT_OK(b);
  EXPECT_EQ(a.value().ids, b.value().ids) << "the memory budget must not change the text";
  const Ids& ids = a.value().ids;
  EXPECT_FALSE(std::equal(ids.begin(), ids.begin() + 24, ids.begin() + 24)) << "samples must differ";
}

TEST_F(Calibration, ImpossibleSizesAreRefused) {
  EXPECT_FALSE(load_calibration(*source_, "random", options(0, 16)).ok());
  EXPECT_FALSE(load_calibration(*source_, "random", options(1, 1)).ok());
  EXPECT_FALSE(load_calibration(*source_, "random", options(std::int64_t{1} << 40, 1 << 20)).ok());
  EXPECT_FALSE(load_calibration(*source_, "self", options(1, 1 << 20)).ok());
  EXPECT_FALSE(load_calibration(*source_, dir_.path("absent.txt"), options(1, 16)).ok());
}

}  // namespace
}  // namespace vernier
