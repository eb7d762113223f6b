// GGUF files: what a well-formed one says, and every way a bad one is refused.
#include "io/gguf/file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/files.h"
#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_tokenizer.h"
#include "support/support.h"
#include "tensor/mapped_file.h"

namespace vernier {
namespace {

using testing::source_dir;
using testing::TempDir;

std::string golden(const std::string& name) { return source_dir() + "/tests/golden/gguf/" + name + ".gguf"; }

// Puts a file together, field by field.
class FileText {
 public:
  template <class T>
  FileText& number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  FileText& string(std::string_view value) {
    number<std::uint64_t>(value.size());
    text_ += value;
    return *this;
  }
  FileText& head(std::uint64_t tensors, std::uint64_t values, std::uint32_t version = 3) {
    text_ += "GGUF";
    return number(version).number(tensors).number(values);
  }
  FileText& text(std::string_view key, std::string_view value) {
    return string(key).number<std::uint32_t>(8).string(value);
  }
  FileText& u32(std::string_view key, std::uint32_t value) {
    return string(key).number<std::uint32_t>(4).number(value);
  }
  FileText& tensor(std::string_view name, std::vector<std::uint64_t> dims, std::uint32_t type, std::uint64_t offset) {
    string(name).number(static_cast<std::uint32_t>(dims.size()));
    for (std::uint64_t d : dims) number(d);
    return number(type).number(offset);
  }
  FileText& data(std::size_t bytes, std::size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment + bytes);
    return *this;
  }
  const std::string& get() const { return text_; }

 private:
  std::string text_;
};

Result<GgufHeader> parse(const std::string& text) { return parse_gguf(std::as_bytes(std::span(text)), "test.gguf"); }
Result<GgufHeader> parse(const FileText& text) { return parse(text.get()); }

void expect_refused(const FileText& text, std::string_view what) {
  const auto header = parse(text);
  ASSERT_FALSE(header.ok()) << what;
  EXPECT_NE(header.error().text().find(what), std::string::npos) << header.error().text();
  EXPECT_NE(header.error().text().find("test.gguf"), std::string::npos) << header.error().text();
}

TEST(Gguf, ReadsTheMinimalFile) {
  FileText file;
  file.head(1, 1).text("general.architecture", "llama").tensor("t", {4, 2}, 0, 0);
  EXPECT_EQ(file.get().size(), 110u);
  file.data(32);
  const auto header = parse(file);
  VN_ASSERT_OK(header);
  EXPECT_EQ(header->data_offset, 128);
  ASSERT_EQ(header->tensors.size(), 1u);
  EXPECT_EQ(header->tensors[0].shape, (Shape{2, 4}));
  EXPECT_EQ(header->tensors[0].bytes(), 32);
  EXPECT_EQ(GgufReader(*header, "x").text("general.architecture").value(), "llama");
}

TEST(Gguf, EveryPrefixIsRefused) {
  FileText file;
  file.head(2, 2).text("general.architecture", "llama").u32("general.alignment", 64);
  file.tensor("a", {32, 2}, 8, 0).tensor("b", {4}, 0, 128).data(144, 64);
  VN_ASSERT_OK(parse(file));
  for (std::size_t size = 0; size < file.get().size(); ++size) {
    const std::string part = file.get().substr(0, size);
    EXPECT_FALSE(parse(part).ok()) << size << " bytes";
  }
}

TEST(Gguf, RefusesWhatIsWrong) {
  expect_refused(FileText().number<std::uint32_t>(0x4C4D4747).data(64), "GGUF");
  expect_refused(FileText().head(0, 0, 4), "version 4");
  expect_refused(FileText().head(0, 0, 1), "version 1");
  expect_refused(FileText().head(0, 0, 0x03000000), "big-endian");
  expect_refused(FileText().head(std::uint64_t{1} << 60, 0).data(64), "tensors");
  expect_refused(FileText().head(0, std::uint64_t{1} << 60).data(64), "metadata");
  const auto with_tensor = [](std::vector<std::uint64_t> dims, std::uint32_t type, std::uint64_t offset) {
    return FileText().head(1, 0).tensor("t", std::move(dims), type, offset).data(64);
  };
  expect_refused(with_tensor({4, 2}, 0, 64), "data section");
  expect_refused(with_tensor({4, 2}, 0, 8), "multiple of 32");
  expect_refused(with_tensor({4, 2}, 16, 0), "type 16");
  expect_refused(with_tensor({40, 2}, 2, 0), "blocks of 32");
  expect_refused(with_tensor({}, 0, 0), "0 dimensions");
  expect_refused(with_tensor({1, 1, 1, 1, 1}, 0, 0), "5 dimensions");
  expect_refused(with_tensor({0, 2}, 0, 0), "dimension of 0");
  expect_refused(with_tensor({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, 0), "dimension");
  expect_refused(with_tensor({4}, 0, ~std::uint64_t{0}), "offset");
  expect_refused(FileText().head(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).data(64), "twice");
  expect_refused(FileText().head(2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64), "overlap");
  expect_refused(FileText().head(0, 2).u32("k", 1).u32("k", 2), "twice");
  expect_refused(FileText().head(0, 1).u32("general.alignment", 48), "power of two");
  expect_refused(FileText().head(0, 1).u32("general.alignment", 0), "power of two");
  expect_refused(FileText().head(0, 1).text("general.alignment", "32"), "integer");
  const auto with_array = [](std::uint32_t kind, std::uint64_t count) {
    return FileText().head(0, 1).string("k").number<std::uint32_t>(9).number(kind).number(count).data(64);
  };
  expect_refused(with_array(8, std::uint64_t{1} << 62), "strings");
  expect_refused(with_array(4, std::uint64_t{1} << 62), "elements");
  expect_refused(with_array(9, 1), "array of arrays");
  expect_refused(with_array(13, 1), "value type 13");
}

TEST(Gguf, ConvertsNumbersAndNamesWrongSorts) {
  FileText file;
  file.head(0, 5).u32("u", 7).string("i").number<std::uint32_t>(5).number<std::int32_t>(-3);
  file.string("f").number<std::uint32_t>(6).number(0.5f);
  file.string("b").number<std::uint32_t>(7).number<std::uint8_t>(1);
  file.string("a").number<std::uint32_t>(9).number<std::uint32_t>(3).number<std::uint64_t>(2);
  file.number<std::int16_t>(-1).number<std::int16_t>(2);
  const auto header = parse(file);
  VN_ASSERT_OK(header);
  const GgufReader reader(*header, "test.gguf");
  EXPECT_EQ(reader.integer("u").value(), 7);
  EXPECT_FALSE(reader.integer("i").ok()) << "negative";
  EXPECT_EQ(reader.number("i", 0).value(), -3);
  EXPECT_EQ(reader.number("f", 0).value(), 0.5);
  EXPECT_TRUE(reader.flag("b", false).value());
  EXPECT_EQ(reader.integers("a", 2).value(), (std::vector<std::int64_t>{-1, 2}));
  EXPECT_EQ(reader.number("absent", 4).value(), 4);
  for (const auto& error : {reader.text("u").error(), reader.integer("f").error(), reader.integers("a", 3).error(),
                            reader.text("absent").error(), reader.strings("a").error()})
    EXPECT_NE(error.message.find("test.gguf: metadata"), std::string::npos) << error.message;
}

TEST(GgufCheckpoint, RebuildsTheConfig) {
  const auto checkpoint = Checkpoint::open(golden("llama-llama3"));
  VN_ASSERT_OK(checkpoint);
  const Json& config = (*checkpoint)->config();
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["hidden_size"], 32);
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["vocab_size"], 64);
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "factors");
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(Checkpoint::open(golden("llama-tied")).value()->config()["tie_word_embeddings"], true);
  EXPECT_EQ(Checkpoint::open(golden("mixtral")).value()->config()["model_type"], "mixtral");
  EXPECT_EQ((*checkpoint)->fingerprint(), Checkpoint::open(golden("llama-llama3")).value()->fingerprint());
}

TEST(GgufCheckpoint, JoinsTheParts) {
  const auto whole = Checkpoint::open(golden("llama-linear-00001-of-00003"));
  VN_ASSERT_OK(whole);
  EXPECT_EQ((*whole)->files().size(), 3u);
  EXPECT_EQ((*whole)->config()["rope_scaling"]["factor"], 2.0);
  VN_EXPECT_OK((*whole)->view("output.weight"));

  const auto second = Checkpoint::open(golden("llama-linear-00002-of-00003"));
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().hint.find("first part"), std::string::npos) << second.error().text();

  const TempDir dir;
  for (const char* name : {"llama-linear-00001-of-00003", "llama-linear-00003-of-00003"})
    VN_ASSERT_OK(copy_file_atomic(golden(name), dir.path(std::string(name) + ".gguf")));
  const auto missing = Checkpoint::open(dir.path("llama-linear-00001-of-00003.gguf"));
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().text().find("part 2 of 3"), std::string::npos) << missing.error().text();
  VN_ASSERT_OK(copy_file_atomic(golden("llama-linear-00003-of-00003"), dir.path("llama-linear-00002-of-00003.gguf")));
  const auto confused = Checkpoint::open(dir.path("llama-linear-00001-of-00003.gguf"));
  ASSERT_FALSE(confused.ok());
  EXPECT_NE(confused.error().text().find("its name says 2"), std::string::npos) << confused.error().text();
}

TEST(GgufCheckpoint, RefusesModelsItCannotDescribe) {
  const TempDir dir;
  const auto refused = [&](const FileText& file, std::string_view what) {
    VN_ASSERT_OK(write_file_atomic(dir.path("m.gguf"), file.get()));
    const auto checkpoint = Checkpoint::open(dir.path("m.gguf"));
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_NE(checkpoint.error().text().find(what), std::string::npos) << checkpoint.error().text();
  };
  refused(FileText().head(0, 1).text("general.architecture", "opt"), "\"opt\" is not known");
  refused(FileText().head(0, 0), "general.architecture");
  refused(FileText().head(0, 1).text("general.architecture", "llama"), "llama.block_count");
  EXPECT_FALSE(Checkpoint::open(dir.path("absent.gguf")).ok());
}

// The embedding's rows against vocab_size: one number of a good file changed.
TEST(GgufCheckpoint, RefusesAVocabularyThatContradictsTheEmbedding) {
  const TempDir dir;
  std::string text = testing::read_file(golden("llama"));
  const std::size_t key = text.find("llama.vocab_size");
  ASSERT_NE(key, std::string::npos);
  const std::uint32_t other = 65;
  std::memcpy(text.data() + key + std::strlen("llama.vocab_size") + 4, &other, sizeof other);
  VN_ASSERT_OK(write_file_atomic(dir.path("m.gguf"), text));
  const auto checkpoint = Checkpoint::open(dir.path("m.gguf"));
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_NE(checkpoint.error().message.find("64 rows"), std::string::npos) << checkpoint.error().text();
}

// The vocabulary of a GGUF gives what the file it was made from gives.
class GgufTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufTokenizer, IdsAndTextAreExact) {
  auto tokenizer = open_tokenizer(golden(std::string("tokenizer-") + GetParam()));
  VN_ASSERT_OK(tokenizer);
  const std::string path = source_dir() + "/tests/golden/tokenizers/" + GetParam() + "/cases.json";
  const Json cases = parse_json(read_text_file(path).value(), path).value();
  int compared = 0;
  for (const Json& c : cases) {
    const auto input = c["text"].get<std::string>();
    // GGUF does not say that an added token eats spaces, stands as a word, or matches normalized text.
    const auto holds = [&](const char* token) { return input.find(token) != std::string::npos; };
    if (holds("<lstrip>") || holds("<rstrip>") || holds("word") || holds("caf")) continue;
    ++compared;
    const auto ids = c["ids_special"].get<std::vector<TokenId>>();
    EXPECT_EQ((*tokenizer)->encode(input), c["ids"].get<std::vector<TokenId>>()) << "text " << c["text"];
    EXPECT_EQ((*tokenizer)->encode(input, true), ids) << "text " << c["text"];
    EXPECT_EQ((*tokenizer)->decode(ids), c["decoded"].get<std::string>()) << "text " << c["text"];
  }
  EXPECT_GT(compared, 30);
}

INSTANTIATE_TEST_SUITE_P(Families, GgufTokenizer, ::testing::Values("llama3", "qwen2"));

TEST(GgufTokenizer, SentencePieceIsTheModelsOwn) {
  auto from_file = open_tokenizer(golden("tokenizer-books-6m"));
  VN_ASSERT_OK(from_file);
  auto own = open_tokenizer(testing::bundled_model());
  VN_ASSERT_OK(own);
  EXPECT_EQ((*from_file)->vocab_size(), (*own)->vocab_size());
  EXPECT_EQ((*from_file)->bos, (*own)->bos);
  EXPECT_EQ((*from_file)->eos, (*own)->eos);
  EXPECT_EQ((*from_file)->add_bos, (*own)->add_bos);
  for (const std::string text : {"It was a dark and stormy night; the rain fell in torrents.", "  two  spaces", "",
                                 "<s>not a token", "na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8D\x8E\n\ttab"}) {
    const auto ids = (*own)->encode(text);
    EXPECT_EQ((*from_file)->encode(text), ids) << text;
    EXPECT_EQ((*from_file)->decode(ids), (*own)->decode(ids)) << text;
  }
}

TEST(GgufTokenizer, RefusesWhatIsNotKnown) {
  const auto refused = [](const FileText& file, std::string_view what) {
    const auto header = parse(file);
    VN_ASSERT_OK(header);
    const auto tokenizer = parse_gguf_tokenizer(GgufReader(*header, "test.gguf"));
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_NE(tokenizer.error().text().find(what), std::string::npos) << tokenizer.error().text();
  };
  refused(FileText().head(0, 0), "tokenizer.ggml.model");
  refused(FileText().head(0, 1).text("tokenizer.ggml.model", "t5"), "\"t5\"");
  const auto tokens = [](std::uint64_t values) {
    FileText file;
    file.head(0, values).string("tokenizer.ggml.tokens").number<std::uint32_t>(9).number<std::uint32_t>(8);
    return file.number<std::uint64_t>(2).string("a").string("b");
  };
  refused(tokens(2).text("tokenizer.ggml.model", "llama"), "token_type");
  const auto typed = [&](std::uint64_t values, std::int32_t type) {
    FileText file = tokens(values);
    file.string("tokenizer.ggml.token_type").number<std::uint32_t>(9).number<std::uint32_t>(5);
    return file.number<std::uint64_t>(2).number<std::int32_t>(1).number(type);
  };
  refused(typed(3, 9).text("tokenizer.ggml.model", "llama"), "type 9");
  refused(typed(3, 1).text("tokenizer.ggml.model", "llama"), "scores");
  refused(typed(3, 1).text("tokenizer.ggml.model", "gpt2"), "merges");
  FileText odd = typed(5, 1);
  odd.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "odd");
  odd.string("tokenizer.ggml.merges").number<std::uint32_t>(9).number<std::uint32_t>(8).number<std::uint64_t>(0);
  refused(odd, "\"odd\" is not known");
}

}  // namespace
}  // namespace vernier
