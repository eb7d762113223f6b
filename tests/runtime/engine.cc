#include "runtime/engine.h"

#include <gtest/gtest.h>

#include "runtime/generate.h"
#include "runtime/golden_models.h"
#include "runtime/tiny_model.h"
#include "support/support.h"

namespace vernier::testing {
namespace {

// The bundled model, opened once.
struct Bundled {
  std::unique_ptr<ModelSource> source = open_checkpoint_source(bundled_model()).value();
  std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(bundled_model()).value();
  std::unique_ptr<Forward> forward = Forward::open(*source, false).value();

  static Bundled& get() {
    static Bundled model;
    return model;
  }
  std::vector<TokenId> encode(std::string_view text) const {
    std::vector<TokenId> ids = tokenizer->encode(text);
    ids.insert(ids.begin(), *tokenizer->bos);
    return ids;
  }
  Request request(std::string_view text, std::int64_t tokens) const {
    Request request;
    request.prompt = encode(text);
    request.max_tokens = tokens;
    request.tokenizer = tokenizer.get();
    return request;
  }
};

std::unique_ptr<Engine> open_engine(Forward& forward, const EngineOptions& options) {
  auto engine = Engine::open(forward, options);
  EXPECT_TRUE(engine.ok()) << engine.error().text();
  return std::move(engine).value();
}

Completion run(Engine& engine, Request request) {
  const auto id = engine.submit(std::move(request));
  EXPECT_TRUE(id.ok()) << id.error().text();
  while (!engine.idle()) VN_EXPECT_OK(engine.step());
  return *engine.take(*id);
}

const char* const kPrompts[] = {"It was a dark and stormy night", "The",
                                "She opened the door, and there stood, to her great surprise, a man with",
                                "\"I do not know,\" said he,", "In the beginning"};

TEST(Engine, TokensDoNotDependOnTheBatch) {
  Bundled& model = Bundled::get();
  std::vector<std::vector<TokenId>> alone;
  for (const char* prompt : kPrompts)
    alone.push_back(generate(*model.forward, model.encode(prompt), {.max_tokens = 24}).value());

  for (const EngineOptions& options :
       {EngineOptions{.kv = KvType::f32, .sequences = 5}, EngineOptions{.kv = KvType::f32, .sequences = 2},
        EngineOptions{.kv = KvType::f32, .sequences = 5, .prefill_tokens = 7},
        EngineOptions{.kv = KvType::f32, .sequences = 3, .prefill_tokens = 1}}) {
    SCOPED_TRACE(std::to_string(options.sequences) + " sequences, chunks of " + std::to_string(options.prefill_tokens));
    const auto engine = open_engine(*model.forward, options);
    std::vector<Engine::Id> ids;
    for (std::size_t i = 0; i < alone.size(); ++i) {
      ids.push_back(engine->submit(model.request(kPrompts[i], 24)).value());
      VN_ASSERT_OK(engine->step());  // later ones join while earlier ones run
    }
    while (!engine->idle()) VN_ASSERT_OK(engine->step());
    for (std::size_t i = 0; i < alone.size(); ++i) {
      const auto completion = engine->take(ids[i]);
      ASSERT_TRUE(completion);
      EXPECT_EQ(completion->tokens, alone[i]) << kPrompts[i];
      EXPECT_EQ(completion->finish, Finish::length);
      EXPECT_FALSE(engine->take(ids[i]));
    }
    EXPECT_EQ(engine->cache().free_pages(), engine->cache().pages());
  }
}

TEST(Engine, EveryKvTypeContinuesTheText) {
  Bundled& model = Bundled::get();
  for (KvType type : {KvType::f16, KvType::int8, KvType::int4}) {
    const auto engine = open_engine(*model.forward, {.kv = type, .context = 64});
    const Completion whole = run(*engine, model.request(kPrompts[2], 16));
    EXPECT_EQ(whole.tokens.size(), 16u);
    // Slots and pages that served before change nothing.
    EXPECT_EQ(run(*engine, model.request(kPrompts[2], 16)).tokens, whole.tokens) << name(type);
  }
}

TEST(Engine, SequencesWaitForPages) {
  Bundled& model = Bundled::get();
  const auto engine = open_engine(*model.forward, {.kv = KvType::f32, .sequences = 4, .pool_tokens = 64});
  std::vector<Engine::Id> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(engine->submit(model.request("The", 40)).value());  // two pages each
  while (!engine->idle()) {
    VN_ASSERT_OK(engine->step());
    EXPECT_GE(engine->cache().free_pages(), 0);
  }
  for (Engine::Id id : ids) EXPECT_EQ(engine->take(id)->tokens.size(), 40u);
  EXPECT_EQ(engine->cache().free_pages(), 2);
}

TEST(Engine, StreamsTextAndStopsAtStrings) {
  Bundled& model = Bundled::get();
  const auto engine = open_engine(*model.forward, {.kv = KvType::f32});
  std::string streamed;
  Request request = model.request(kPrompts[0], 40);
  request.on_text = [&](std::string_view text) { streamed += text; };
  const Completion free = run(*engine, request);
  EXPECT_EQ(streamed, free.text);
  ASSERT_GT(free.text.size(), 30u);

  // A string that starts within one token and ends within another.
  const std::string stop = free.text.substr(13, 8);
  const std::size_t at = free.text.find(stop);
  streamed.clear();
  request.stop_strings = {"never said", stop};
  const Completion stopped = run(*engine, request);
  EXPECT_EQ(stopped.finish, Finish::stop);
  EXPECT_EQ(stopped.text, free.text.substr(0, at));
  EXPECT_EQ(streamed, stopped.text);
  EXPECT_LT(stopped.tokens.size(), free.tokens.size());

  // What only began like a stop string is not lost.
  request.stop_strings = {free.text.substr(free.text.size() - 3) + "never said"};
  EXPECT_EQ(run(*engine, request).text, free.text);

  request.stop_strings.clear();
  request.stop = {free.tokens[5]};
  const Completion at_token = run(*engine, request);
  EXPECT_EQ(at_token.finish, Finish::stop);
  EXPECT_LE(at_token.tokens.size(), 5u);
}

TEST(Engine, EndsAtTheContextAndWhenCancelled) {
  Bundled& model = Bundled::get();
  const auto engine = open_engine(*model.forward, {.kv = KvType::f32, .sequences = 2, .context = 20});
  const std::size_t prompt = model.encode(kPrompts[0]).size();
  const Completion full = run(*engine, model.request(kPrompts[0], 500));
  EXPECT_EQ(full.finish, Finish::context);
  EXPECT_EQ(full.tokens.size(), 20 - prompt + 1);  // the token drawn at the last position is not fed back

  Request told = model.request(kPrompts[0], 10);
  told.on_token = [](TokenId) { return false; };
  const Completion once = run(*engine, told);
  EXPECT_EQ(once.finish, Finish::cancelled);
  EXPECT_EQ(once.tokens.size(), 1u);

  std::vector<Engine::Id> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(engine->submit(model.request("The", 10)).value());
  VN_ASSERT_OK(engine->step());  // two run, one waits
  for (Engine::Id id : ids) engine->cancel(id);
  engine->cancel(12345);
  EXPECT_TRUE(engine->idle());
  EXPECT_EQ(engine->take(ids[0])->tokens.size(), 1u);
  EXPECT_EQ(engine->take(ids[2])->finish, Finish::cancelled);
  EXPECT_EQ(engine->cache().free_pages(), engine->cache().pages());
}

TEST(Engine, RefusesWhatItCannotRun) {
  Bundled& model = Bundled::get();
  for (const EngineOptions& wrong : {EngineOptions{.sequences = 0}, EngineOptions{.prefill_tokens = 0},
                                     EngineOptions{.context = 513}, EngineOptions{.context = -1}}) {
    const auto engine = Engine::open(*model.forward, wrong);
    ASSERT_FALSE(engine.ok());
    EXPECT_EQ(engine.error().code, ErrorCode::invalid);
  }
  const auto huge = Engine::open(*model.forward, {.sequences = 1 << 24});
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().code, ErrorCode::over_budget);

  const auto engine = open_engine(*model.forward, {.sequences = 2, .context = 100, .pool_tokens = 64});
  const auto refused = [&](Request request, const char* word) {
    const auto id = engine->submit(std::move(request));
    ASSERT_FALSE(id.ok()) << word;
    EXPECT_NE(id.error().message.find(word), std::string::npos) << id.error().message;
  };
  Request request = model.request("The", 5);
  request.prompt.clear();
  refused(request, "no tokens");
  request.prompt.assign(101, 5);
  refused(request, "the context holds 100");
  request.prompt.assign(60, 5);
  request.max_tokens = 30;
  refused(request, "KV cache of 64");
  request.prompt = {5, 4096};
  refused(request, "token id 4096");
  request.prompt = {5};
  request.stop_strings = {""};
  refused(request, "stop string");
  request.stop_strings = {"x"};
  request.tokenizer = nullptr;
  refused(request, "tokenizer");
  request.stop_strings.clear();
  request.sampler.top_p = 2;
  refused(request, "top-p");
  EXPECT_TRUE(engine->idle());
}

}  // namespace
}  // namespace vernier::testing
