#include "runtime/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/random.h"
#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

std::map<TokenId, double> shares(const std::vector<float>& logits, SamplerOptions options, int draws) {
  std::map<TokenId, double> found;
  for (int i = 0; i < draws; ++i) found[sample(logits, options, i)] += 1.0 / draws;
  return found;
}

TEST(Sample, GreedyTakesTheLargestAndTheLowerIdOfATie) {
  EXPECT_EQ(sample(std::vector<float>{1, 5, 5, 2}, {}, 0), 1);
  EXPECT_EQ(sample(std::vector<float>{NAN, -3, NAN, -2}, {}, 0), 3);
}

TEST(Sample, FollowsTheSoftmaxAtItsTemperature) {
  const std::vector<float> logits = {0, 1, 2, -1};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    double sum = 0;
    for (float l : logits) sum += std::exp(l / temperature);
    const auto found = shares(logits, {.temperature = temperature, .seed = 3}, 40000);
    for (TokenId id = 0; id < 4; ++id) {
      const double p = std::exp(logits[id] / temperature) / sum;
      const auto at = found.find(id);
      EXPECT_NEAR(at == found.end() ? 0 : at->second, p, 5 * std::sqrt(p * (1 - p) / 40000))
          << temperature << " " << id;
    }
  }
}

TEST(Sample, CutsAtTopKAndTopP) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  auto found = shares(logits, {.temperature = 1, .top_k = 2}, 20000);
  EXPECT_EQ(found.size(), 2u);
  EXPECT_NEAR(found[1], 4.0 / 7, 0.02);
  EXPECT_NEAR(found[3], 3.0 / 7, 0.02);
  found = shares(logits, {.temperature = 1, .top_p = 0.75f}, 20000);  // 0.4 + 0.3 < 0.75 <= + 0.2
  EXPECT_EQ(found.size(), 3u);
  EXPECT_EQ(found.count(0), 0u);
  EXPECT_NEAR(found[2], 2.0 / 9, 0.02);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_p = 0}, 100).size(), 1u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_k = 1}, 100).size(), 1u);
}

TEST(Sample, CutsAtMinPOfTheLikeliest) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  const auto found = shares(logits, {.temperature = 1, .min_p = 0.45f}, 20000);  // of 0.4: 0.18
  EXPECT_EQ(found.count(0), 0u);
  EXPECT_EQ(found.size(), 3u);
  EXPECT_NEAR(found.at(1), 4.0 / 9, 0.02);
  EXPECT_EQ(shares(logits, {.temperature = 1, .min_p = 1}, 100).size(), 1u);
}

TEST(Sample, PenalizesWhatWasSeenOnceAndFirst) {
  const std::vector<float> logits = {3, 4, -1, -1.5f};
  const SamplerOptions options{.repetition_penalty = 2};
  EXPECT_EQ(sample(logits, options, 0), 1);
  EXPECT_EQ(sample(logits, options, 0, std::vector<TokenId>{1, 1, 1}), 0);                   // 2 once, not 0.5
  EXPECT_EQ(sample(std::vector<float>{-2, -1}, options, 0, std::vector<TokenId>{1, 1}), 0);  // a tie: -2 and -2
  EXPECT_EQ(sample(std::vector<float>{-2.1f, -1}, options, 0, std::vector<TokenId>{1, 1}), 1);
  // Before the cut: the penalized token falls out of the two likeliest.
  const SamplerOptions cut{.temperature = 1, .top_k = 2, .repetition_penalty = 100};
  for (std::uint64_t step = 0; step < 100; ++step)
    EXPECT_NE(sample(std::vector<float>{3, 4, 3.5f}, cut, step, std::vector<TokenId>{1}), 1);
}

TEST(Sample, NamesOptionsOutOfRange) {
  VN_EXPECT_OK(validate({}));
  const std::pair<SamplerOptions, const char*> wrong[] = {
      {{.temperature = -1}, "temperature"},
      {{.temperature = NAN}, "temperature"},
      {{.top_k = -1}, "top-k"},
      {{.top_p = 1.5f}, "top-p"},
      {{.min_p = -0.1f}, "min-p"},
      {{.repetition_penalty = 0}, "repetition"},
  };
  for (const auto& [options, word] : wrong) {
    const Status status = validate(options);
    ASSERT_FALSE(status.ok()) << word;
    EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
  }
}

TEST(Sample, DependsOnSeedAndStepAlone) {
  const std::vector<float> logits(50, 0.0f);
  const SamplerOptions a{.temperature = 1, .seed = 1}, b{.temperature = 1, .seed = 2};
  int different_seed = 0, different_step = 0;
  for (std::uint64_t step = 0; step < 100; ++step) {
    EXPECT_EQ(sample(logits, a, step), sample(logits, a, step));
    different_seed += sample(logits, a, step) != sample(logits, b, step);
    different_step += sample(logits, a, step) != sample(logits, a, step + 1);
  }
  EXPECT_GT(different_seed, 80);
  EXPECT_GT(different_step, 80);
}

TEST(Sample, IsNotThrownByInfinities) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(sample(std::vector<float>{-inf, 2, -inf}, {.temperature = 1}, 0), 1);
  EXPECT_EQ(sample(std::vector<float>{0, inf}, {.temperature = 1}, 0), 1);
  EXPECT_EQ(sample(std::vector<float>{NAN, 2, NAN}, {.temperature = 1, .top_p = 0.9f}, 0), 1);
}

struct Model {
  TinyModel source{llama_config()};
  std::unique_ptr<Forward> forward = Forward::open(source, false).value();

  std::vector<TokenId> run(std::vector<TokenId> prompt, const GenerateOptions& options,
                           const std::function<bool(TokenId)>& on_token = {}) {
    auto tokens = generate(*forward, std::move(prompt), options, on_token);
    EXPECT_TRUE(tokens.ok()) << tokens.error().text();
    return tokens.ok() ? *tokens : std::vector<TokenId>();
  }
};

// The same tokens without a cache: a whole forward pass for each.
TEST(Generate, EqualsRepeatedFullPasses) {
  Model model;
  std::vector<TokenId> text;
  for (int i = 0; i < 600; ++i) text.push_back(static_cast<TokenId>(Random(5).below(i, 61)));  // more than one prefill
  const auto found = model.run(text, {.max_tokens = 6});
  std::vector<TokenId> wanted;
  for (int i = 0; i < 6; ++i) {
    Batch batch = Batch::uniform(1, static_cast<std::int64_t>(text.size()));
    batch.ids = text;
    const auto hidden = model.forward->hidden(batch);
    VN_ASSERT_OK(hidden);
    const auto logits = model.forward->logits(*hidden);
    VN_ASSERT_OK(logits);
    wanted.push_back(sample({&logits->data[(text.size() - 1) * 61], 61}, {}, i));
    text.push_back(wanted.back());
  }
  EXPECT_EQ(found, wanted);
}

TEST(Generate, StopsAtStopTokensAndWhenTold) {
  Model model;
  const GenerateOptions plain{.sampler = {.temperature = 1, .seed = 4}, .max_tokens = 20};
  const auto free = model.run({1, 2, 3}, plain);
  ASSERT_EQ(free.size(), 20u);
  std::size_t first = 0;  // where the seventh token first appears
  while (free[first] != free[6]) ++first;
  GenerateOptions stopped = plain;
  stopped.stop = {free[6]};
  EXPECT_EQ(model.run({1, 2, 3}, stopped), std::vector<TokenId>(free.begin(), free.begin() + first));

  std::vector<TokenId> seen;
  const auto told = model.run({1, 2, 3}, plain, [&](TokenId id) {
    seen.push_back(id);
    return seen.size() < 5;
  });
  EXPECT_EQ(told, std::vector<TokenId>(free.begin(), free.begin() + 5));
  EXPECT_EQ(seen, told);
  EXPECT_TRUE(model.run({1, 2, 3}, {.max_tokens = 0}).empty());
}

TEST(Generate, StaysWithinThePositionsOfTheModel) {
  Json config = llama_config();
  config["max_position_embeddings"] = 10;
  const TinyModel source(config);
  const auto forward = Forward::open(source, false);
  VN_ASSERT_OK(forward);
  const auto tokens = generate(**forward, std::vector<TokenId>(8, 1), {.max_tokens = 50});
  VN_ASSERT_OK(tokens);
  EXPECT_EQ(tokens->size(), 3u);  // two more positions, and the token drawn at the last one
  EXPECT_FALSE(generate(**forward, std::vector<TokenId>(11, 1), {}).ok());
  EXPECT_FALSE(generate(**forward, {}, {}).ok());
}

}  // namespace
}  // namespace vernier::testing
