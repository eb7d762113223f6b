#include "eval/evaluate.h"

#include <cmath>

#include "base/memory.h"
#include "base/threads.h"
#include "eval/folder_source.h"
#include "io/files.h"
#include "io/text.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::FolderSource;

struct Model {
  std::unique_ptr<FolderSource> source;
  std::unique_ptr<Tokenizer> tokenizer;
};

Model open(const std::string& folder) {
  auto source = FolderSource::open(folder);
  auto tokenizer = open_tokenizer(folder);
  EXPECT_TRUE(source.ok() && tokenizer.ok()) << folder;
  return {std::move(source).value(), std::move(tokenizer).value()};
}

std::string some_text() {
  std::string text;
  for (int i = 0; i < 12; ++i) text += "The old man walked along the river to the house, and the night was cold.\n";
  return text;
}

// Perplexities of an independent fp32 implementation.
void check_golden(const std::string& name, const std::string& text_file, const std::vector<std::string>& contexts,
                  const std::vector<std::string>& protocols) {
  const std::string shared = testing::shared_dir();
  const auto golden_text = read_text_file(shared + "/golden/" + name + ".json");
  VN_ASSERT_OK(golden_text);
  const auto golden = parse_json(golden_text.value(), name);
  VN_ASSERT_OK(golden);
  const Model model = open(shared + "/models/" + name);
  const auto text = read_text(shared + "/text/" + text_file);
  VN_ASSERT_OK(text);
  for (const std::string& ctx : contexts) {
    for (const std::string& protocol : protocols) {
      EvalOptions options;
      options.ctx = std::stoll(ctx);
      options.protocol = parse_protocol(protocol).value();
      const auto result = evaluate(*model.source, nullptr, *model.tokenizer, text.value(), options);
      VN_ASSERT_OK(result);
      const Json& wanted = golden.value()["perplexity"][text_file][ctx][protocol];
      const double ppl = wanted["ppl"].get<double>();
      EXPECT_NEAR(result.value().figures["perplexity"].get<double>() / ppl, 1, 1e-4) << name << " " << ctx << protocol;
      EXPECT_EQ(result.value().tokens, wanted["tokens"].get<std::int64_t>());
    }
  }
}

TEST(GoldenPerplexity, Stories260k) {
  VN_NEEDS_SHARED();
  check_golden("stories260k", "tinystories-valid.txt", {"128", "256"}, {"window", "gptq"});
}

TEST(GoldenPerplexity, Books6m) {
  VN_NEEDS_SHARED();
  check_golden("books-6m", "books-valid.txt", {"256"}, {"window"});
}

TEST(Evaluate, AModelAgainstItselfDivergesByNothing) {
  const Model model = open(testing::bundled_model());
  EvalOptions options;
  options.ctx = 32;
  const auto result = evaluate(*model.source, model.source.get(), *model.tokenizer, some_text(), options);
  VN_ASSERT_OK(result);
  const Json json = to_json(result.value());
  EXPECT_EQ(json["kl_mean"].get<double>(), 0);
  EXPECT_EQ(json["kl_p99"].get<double>(), 0);
  EXPECT_EQ(json["top1_agreement"].get<double>(), 1);
  EXPECT_EQ(json["perplexity"], json["reference_perplexity"]);
  EXPECT_EQ(json["tokens"].get<std::int64_t>() % 31, 0);
}

TEST(Evaluate, ThreadsDoNotChangeTheFigures) {
  const Model model = open(testing::bundled_model());
  EvalOptions options;
  options.ctx = 32;
  std::string figures[2];
  for (int i = 0; i < 2; ++i) {
    set_thread_count(i + 1);
    const auto result = evaluate(*model.source, model.source.get(), *model.tokenizer, some_text(), options);
    VN_ASSERT_OK(result);
    figures[i] = result.value().figures.dump();
  }
  set_thread_count(0);
  EXPECT_EQ(figures[0], figures[1]);
}

TEST(Evaluate, ABudgetChangesOnlyMemory) {
  const Model model = open(testing::bundled_model());
  EvalOptions free, bounded;
  free.ctx = bounded.ctx = 64;
  bounded.memory_bytes = resident_bytes() + (std::int64_t{256} << 20);
  const auto a = evaluate(*model.source, nullptr, *model.tokenizer, some_text(), free);
  const auto b = evaluate(*model.source, nullptr, *model.tokenizer, some_text(), bounded);
  VN_ASSERT_OK(a);
  VN_ASSERT_OK(b);
  EXPECT_NEAR(a.value().figures["perplexity"].get<double>(), b.value().figures["perplexity"].get<double>(), 1e-4);
  bounded.memory_bytes = 1 << 20;
  const auto refused = evaluate(*model.source, nullptr, *model.tokenizer, some_text(), bounded);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::over_budget);
}

TEST(Evaluate, TheFirstTokensOfTheText) {
  const Model model = open(testing::bundled_model());
  EvalOptions options;
  options.ctx = 16;
  options.max_tokens = 47;  // three pieces of 15 and a tail
  const auto result = evaluate(*model.source, nullptr, *model.tokenizer, some_text(), options);
  VN_ASSERT_OK(result);
  EXPECT_EQ(result.value().tokens, 45);
}

TEST(Evaluate, RefusesWhatCannotWork) {
  const Model model = open(testing::bundled_model());
  EvalOptions options;
  EXPECT_FALSE(evaluate(*model.source, nullptr, *model.tokenizer, "", options).ok());
  EXPECT_FALSE(evaluate(*model.source, nullptr, *model.tokenizer, "too short", options).ok());
  options.ctx = 1 << 20;
  const auto long_ctx = evaluate(*model.source, nullptr, *model.tokenizer, some_text(), options);
  ASSERT_FALSE(long_ctx.ok());
  EXPECT_NE(long_ctx.error().message.find("512 positions"), std::string::npos) << long_ctx.error().text();
  options.ctx = 16;
  VN_EXPECT_OK(
      evaluate(*model.source, nullptr, *model.tokenizer, "bytes \xFF\xFE that are not text " + some_text(), options));
}

TEST(Tasks, LikelyContinuationsWin) {
  const Model model = open(testing::bundled_model());
  const std::string jsonl =
      R"({"context": "He opened the door and went into the", "choices": [" house", " zqxv"], "answer": 0})"
      "\n\n"
      R"({"context": "It was a dark and stormy", "choices": [" of of", " night"], "answer": 1})"
      "\n"
      R"({"context": "She was sitting in the", "choices": [" room", " purple zebra xylophone"], "answer": 1})"
      "\n";
  const auto result = evaluate_tasks(*model.source, *model.tokenizer, jsonl, "tasks.jsonl", {});
  VN_ASSERT_OK(result);
  EXPECT_EQ(result.value().questions, 3);
  EXPECT_NEAR(result.value().accuracy, 2.0 / 3, 1e-12);  // the last answer is wrong on purpose
  EXPECT_NEAR(result.value().accuracy_normalized, 2.0 / 3, 1e-12);
}

TEST(Tasks, MalformedQuestionsNameTheLine) {
  const Model model = open(testing::bundled_model());
  const std::string fine = R"({"context": "a", "choices": [" b", " c"], "answer": 0})"
                           "\n";
  for (const char* bad : {"{}", "[1]", "{\"context\": \"a\", \"choices\": [\" b\"], \"answer\": 0}",
                          "{\"context\": \"a\", \"choices\": [\" b\", \"\"], \"answer\": 0}",
                          "{\"context\": \"a\", \"choices\": [\" b\", \" c\"], \"answer\": 2}",
                          "{\"context\": \"a\", \"choices\": [\" b\", \" c\"], \"answer\": 18446744073709551615}",
                          "{\"context\": \"a\", \"choices\": [\" b\", \" c\"], \"answer\": -1}", "{\"context\""}) {
    const auto refused = evaluate_tasks(*model.source, *model.tokenizer, fine + bad + "\n", "t.jsonl", {});
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.error().message.find("t.jsonl:2"), std::string::npos) << refused.error().text();
  }
  EXPECT_FALSE(evaluate_tasks(*model.source, *model.tokenizer, "\n", "t.jsonl", {}).ok());
}

TEST(Text, LineEndsBecomeNewlines) {
  EXPECT_EQ(universal_newlines("a\r\nb\rc\n\r"), "a\nb\nc\n\n");
  EXPECT_EQ(universal_newlines(""), "");
}

}  // namespace
}  // namespace vernier
