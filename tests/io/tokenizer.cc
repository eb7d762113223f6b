// Folders, configurations, malformed files; the exact ids are in tokenizer_golden.cc.
#include <algorithm>

#include "io/files.h"
#include "io/tokenizer/hf_tokenizer.h"
#include "io/tokenizer/regex.h"
#include "support/support.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

using testing::bundled_model;
using testing::source_dir;
using testing::TempDir;

std::string error_of(const std::string& text) {
  auto tokenizer = parse_tokenizer_json(text, "t.json");
  return tokenizer.ok() ? "no error" : tokenizer.error().message;
}

// A byte-pair model over "a", "b", "ab", spaces and two special tokens, with some keys replaced.
std::string tiny(const std::string& model_extra = "", const std::string& extra = "") {
  return R"({"added_tokens": [{"id": 5, "content": "<s>", "special": true, "normalized": false},
    {"id": 6, "content": "<e>", "special": true, "normalized": false}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3, "<u>": 4}, "merges": ["a b"])" +
         model_extra + "}" + extra + "}";
}

TEST(TokenizerJson, RefusesWhatItDoesNotHandleByName) {
  const std::pair<std::string, std::string> cases[] = {
      {"{", "t.json: not valid JSON"},
      {"[]", "expected an object, found array"},
      {"{}", "t.json: model"},
      {R"({"model": {"type": "Unigram", "vocab": []}})", "model \"Unigram\" is not supported"},
      {R"({"model": {"vocab": {"a": -1}, "merges": []}})", "\"a\" should have an id from 0"},
      {R"({"model": {"vocab": {"a": 4000000000}, "merges": []}})", "\"a\" should have an id from 0"},
      {R"({"model": {"vocab": {"a": 18446744073709551615}, "merges": []}})", "\"a\" should have an id from 0"},
      {R"({"model": {"vocab": {"a": "0"}, "merges": []}})", "found string"},
      {R"({"model": {"vocab": {"a": 0}}})", "\"merges\" should be a list"},
      {R"({"model": {"vocab": {"a": 0}, "merges": ["a"]}})", "merge 0 should be two pieces"},
      {R"({"model": {"vocab": {"a": 0}, "merges": [["a"]]}})", "merge 0 should be two pieces"},
      {R"({"model": {"vocab": {"a": 0}, "merges": ["a a"]}})", "\"aa\" is not in the vocabulary"},
      {tiny(R"(, "unk_token": "?")"), "unk_token \"?\" is not in the vocabulary"},
      {tiny(R"(, "dropout": 0.5)"), "dropout is not supported"},
      {tiny(R"(, "end_of_word_suffix": "</w>")"), "end_of_word_suffix \"</w>\" is not supported"},
      {tiny(R"(, "byte_fallback": 1)"), "\"byte_fallback\" should be true or false, found number"},
      {tiny("", R"(, "normalizer": {"type": "BertNormalizer"})"), "normalizer: normalizer \"BertNormalizer\""},
      {tiny("", R"(, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})"),
       "normalizer[1]: normalizer \"Nmt\" is not supported"},
      {tiny("", R"(, "pre_tokenizer": {"type": "UnicodeScripts"})"), "pre_tokenizer \"UnicodeScripts\""},
      {tiny("", R"(, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})"),
       "regex \"(\""},
      {tiny("", R"(, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Odd"})"),
       "behavior \"Odd\""},
      {tiny("", R"(, "pre_tokenizer": {"type": "Metaspace", "replacement": "__"})"), "one character"},
      {tiny("", R"(, "decoder": {"type": "WordPiece"})"), "decoder \"WordPiece\" is not supported"},
      {tiny("", R"(, "decoder": {"type": "Strip", "content": "", "start": 1, "stop": 0})"), "one character"},
      {tiny("", R"(, "decoder": 3)"), "decoder: expected an object, found number"},
      {R"({"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 99, "content": "x"}]})", "from 0 to 1"},
      {R"({"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"content": "x"}]})",
       "\"id\" should be an integer"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_NE(error_of(text).find(expected), std::string::npos) << text << " gave " << error_of(text);
  }
  EXPECT_EQ(error_of(tiny()), "no error");
}

TEST(TokenizerJson, DeepNestingIsRefused) {
  std::string normalizer = R"({"type": "NFC"})";
  for (int i = 0; i < 2000; ++i) normalizer = R"({"type": "Sequence", "normalizers": [)" + normalizer + "]}";
  EXPECT_NE(error_of(tiny("", R"(, "normalizer": )" + normalizer)).find("nested deeper"), std::string::npos);
}

TEST(TokenizerJson, UnknownCharactersFuseWhenAsked) {
  auto fused = parse_tokenizer_json(tiny(R"(, "unk_token": "<u>", "fuse_unk": true)"), "t");
  VN_ASSERT_OK(fused);
  EXPECT_EQ((*fused)->encode("ab??a"), (std::vector<TokenId>{2, 4, 0}));
  auto apart = parse_tokenizer_json(tiny(R"(, "unk_token": "<u>")"), "t");
  VN_ASSERT_OK(apart);
  EXPECT_EQ((*apart)->encode("ab??a"), (std::vector<TokenId>{2, 4, 4, 0}));
  auto dropped = parse_tokenizer_json(tiny(), "t");
  VN_ASSERT_OK(dropped);
  EXPECT_EQ((*dropped)->encode("ab??a"), (std::vector<TokenId>{2, 0}));
}

TEST(TokenizerJson, SpecialTokensOnlyWhenAsked) {
  auto tokenizer = parse_tokenizer_json(tiny(R"(, "unk_token": "<u>")"), "t");
  VN_ASSERT_OK(tokenizer);
  EXPECT_EQ((*tokenizer)->encode("<s>ab<e>", true), (std::vector<TokenId>{5, 2, 6}));
  EXPECT_EQ((*tokenizer)->encode("<s>ab"), (std::vector<TokenId>{4, 4, 4, 2}));
  EXPECT_TRUE((*tokenizer)->is_special(5));
  EXPECT_FALSE((*tokenizer)->is_special(2));
  EXPECT_FALSE((*tokenizer)->is_special(-5));
  EXPECT_EQ((*tokenizer)->vocab_size(), 7);
  EXPECT_EQ((*tokenizer)->decode({5, 2, 777, -3, 6}), "ab");
}

// Each byte of a small file changed, and each end cut off: an error or a working tokenizer, never a crash.
TEST(TokenizerJson, MalformedFilesNeverCrash) {
  const std::string text = tiny(R"(, "byte_fallback": true, "unk_token": "<u>")",
                                R"(, "normalizer": {"type": "Replace", "pattern": {"Regex": "[\\s]+"}, "content": "▁"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "use_regex": true}]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1,
    "stop": 0}]}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]})");
  EXPECT_EQ(error_of(text), "no error");
  const auto exercise = [](const std::string& json) {
    auto tokenizer = parse_tokenizer_json(json, "t");
    if (tokenizer.ok()) (*tokenizer)->decode((*tokenizer)->encode("ab <s> \xF0\x9F\x91\x8D", true));
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    exercise(text.substr(0, i));
    for (const char c : {'0', '"', ']', '\xFF'}) {
      std::string changed = text;
      changed[i] = c;
      exercise(changed);
    }
  }
}

TEST(TokenizerRegex, ReadsClassesAsOnigurumaDoes) {
  const auto parts = [](const std::string& pattern, const std::string& text) {
    auto regex = Regex::compile(pattern, "r");
    EXPECT_TRUE(regex.ok()) << regex.error().message;
    std::string out;
    for (const Span& span : regex->split(text)) {
      out += span.matched ? '[' : '(';
      out += text.substr(span.begin, span.end - span.begin);
      out += span.matched ? ']' : ')';
    }
    return out;
  };
  EXPECT_EQ(parts(R"(\s+)", "a\u0085b\u180ec\u3000"), "(a)[\u0085](b\u180ec)[\u3000]");
  EXPECT_EQ(parts(R"([^\s]+)", "a b"), "[a]( )[b]");
  EXPECT_EQ(parts(R"(\w+)", "é_1 \u0301-\u203f"), "[é_1]( )[\u0301](-)[\u203f]");
  EXPECT_EQ(parts(R"(\p{Han}+)", "日々、本ー"), "[日々](、)[本](ー)");
  EXPECT_EQ(parts(R"([]a]+)", "]ab"), "[]a](b)");
  EXPECT_EQ(parts(R"(x*)", "axb"), "(a)[x](b)");
  for (const char* refused : {R"([a[bc]])", R"([a&&b])", R"(a{1,2}+)", R"(\h)", R"([\W])", R"(\pL)", R"(\C)"}) {
    EXPECT_FALSE(Regex::compile(refused, "r").ok()) << refused;
  }
}

// A pattern that would take exponential time gives up instead.
TEST(TokenizerRegex, ExplosiveBacktrackingIsBounded) {
  auto regex = Regex::compile("(a|a|aa)+$x", "r");
  VN_ASSERT_OK(regex);
  const std::string text(5000, 'a');
  const auto spans = regex->split(text);
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_FALSE(spans[0].matched);
}

class TokenizerFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    VN_EXPECT_OK(write_file_atomic(dir_.path(name), text));
  }
  TempDir dir_;
};

TEST_F(TokenizerFolder, WithoutVocabularyIsNotFound) {
  auto tokenizer = open_tokenizer(dir_.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::not_found);
  EXPECT_FALSE(tokenizer.error().hint.empty());
}

TEST_F(TokenizerFolder, TokensComeFromTheConfigsInOrder) {
  write("tokenizer.json", tiny());
  auto bare = open_tokenizer(dir_.path());
  VN_ASSERT_OK(bare);
  EXPECT_FALSE((*bare)->bos.has_value());
  EXPECT_TRUE((*bare)->eos.empty());
  EXPECT_FALSE((*bare)->add_bos);

  write("config.json", R"({"bos_token_id": 1, "eos_token_id": [6, 4]})");
  auto from_config = open_tokenizer(dir_.path());
  VN_ASSERT_OK(from_config);
  EXPECT_EQ((*from_config)->bos, 1);
  EXPECT_EQ((*from_config)->eos, (std::vector<TokenId>{6, 4}));

  write("generation_config.json", R"({"bos_token_id": 2, "eos_token_id": [3, 6, 12345, -1, "x"]})");
  write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "<e>", "add_bos_token": true})");
  auto all = open_tokenizer(dir_.path());
  VN_ASSERT_OK(all);
  EXPECT_EQ((*all)->bos, 5);
  EXPECT_EQ((*all)->eos, (std::vector<TokenId>{6, 3, 4}));
  EXPECT_TRUE((*all)->add_bos);

  write("tokenizer_config.json", R"({"bos_token": null, "add_bos_token": true})");
  auto second = open_tokenizer(dir_.path());
  VN_ASSERT_OK(second);
  EXPECT_EQ((*second)->bos, 2);
}

TEST_F(TokenizerFolder, MalformedConfigsAreErrors) {
  write("tokenizer.json", tiny());
  write("tokenizer_config.json", "{");
  EXPECT_FALSE(open_tokenizer(dir_.path()).ok());
  write("tokenizer_config.json", "[]");
  EXPECT_FALSE(open_tokenizer(dir_.path()).ok());
}

TEST_F(TokenizerFolder, BrokenSentencePieceModelsAreErrors) {
  for (const std::string& bytes : {std::string(), std::string("not a model"), std::string(5000, '\0')}) {
    write("tokenizer.model", bytes);
    auto tokenizer = open_tokenizer(dir_.path());
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_EQ(tokenizer.error().code, ErrorCode::invalid);
    EXPECT_NE(tokenizer.error().message.find("tokenizer.model"), std::string::npos);
  }
}

class SentencePieceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = open_tokenizer(bundled_model());
    VN_ASSERT_OK(tokenizer);
    tokenizer_ = std::move(tokenizer).value();
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SentencePieceTest, KnowsItsTokens) {
  EXPECT_EQ(tokenizer_->vocab_size(), 4096);
  EXPECT_EQ(tokenizer_->bos, tokenizer_->id_of("<s>"));
  EXPECT_EQ(tokenizer_->eos, std::vector<TokenId>{*tokenizer_->id_of("</s>")});
  EXPECT_TRUE(tokenizer_->add_bos);
  EXPECT_TRUE(tokenizer_->is_special(*tokenizer_->bos));
  EXPECT_FALSE(tokenizer_->id_of("no such piece").has_value());
  EXPECT_EQ(tokenizer_->piece(-1), "");
}

TEST_F(SentencePieceTest, TextRoundTrips) {
  for (const std::string text :
       {"Hello world", " leading", "trailing ", "a\n\nb  c", "naïve 中文 👍", "", " ", "x\ty", "<s> is text here"}) {
    EXPECT_EQ(tokenizer_->decode(tokenizer_->encode(text)), text);
  }
}

TEST_F(SentencePieceTest, SpecialTokensArePutIntoTextOnlyWhenAsked) {
  const auto ids = tokenizer_->encode("<s>one</s>two", true);
  EXPECT_EQ(ids.front(), *tokenizer_->bos);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->eos[0]), 1);
  EXPECT_EQ(tokenizer_->decode(ids, true), "<s>one</s>two");
  EXPECT_EQ(tokenizer_->decode(ids), "onetwo");
  for (const TokenId id : tokenizer_->encode("<s>one</s>")) EXPECT_FALSE(tokenizer_->is_special(id));
}

// Words are encoded apart where that is exact; the sum must be the whole.
TEST_F(SentencePieceTest, LongTextIsItsWords) {
  std::string text;
  std::vector<TokenId> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string word = "word" + std::to_string(i * 7919 % 1000);
    text += (i ? " " : "") + word;
    for (const TokenId id : tokenizer_->encode(word)) expected.push_back(id);
  }
  EXPECT_EQ(tokenizer_->encode(text), expected);
}

TEST_F(SentencePieceTest, InvalidUtf8IsReplaced) {
  EXPECT_EQ(tokenizer_->decode(tokenizer_->encode("a\xFF\xE4\xB8 b")), "a\uFFFD\uFFFD b");
}

TEST_F(SentencePieceTest, StreamHoldsBackHalfACharacter) {
  const auto byte = [&](const char* piece) { return *tokenizer_->id_of(piece); };
  StreamDecoder stream(*tokenizer_);
  EXPECT_EQ(stream.push(*tokenizer_->bos), "");
  EXPECT_EQ(stream.push(tokenizer_->encode("Hi")[0]), tokenizer_->decode({tokenizer_->encode("Hi")[0]}));
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.push(byte("<0x82>")), "");
  EXPECT_EQ(stream.push(byte("<0xAC>")), "€");
  EXPECT_EQ(stream.push(byte("<0xF0>")), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

// Long streams drop their past; nothing of the text may change by it.
TEST_F(SentencePieceTest, LongStreamsEqualTheWhole) {
  std::vector<TokenId> ids = {*tokenizer_->bos};
  std::uint32_t state = 1;
  for (int i = 0; i < 3000; ++i) {
    state = state * 1664525 + 1013904223;
    // Half of them bytes, so that broken and whole characters occur; some special tokens among them.
    ids.push_back(static_cast<TokenId>(state >> 31 ? 3 + (state >> 8) % 256 : (state >> 8) % 4096));
  }
  StreamDecoder stream(*tokenizer_);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  streamed += stream.finish();
  EXPECT_EQ(streamed, tokenizer_->decode(ids));
}

}  // namespace
}  // namespace vernier
