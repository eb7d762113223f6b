// Importance matrices: both kinds of file come back as they were written, and every way a bad one is refused.
#include "io/imatrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "io/gguf/header_writer.h"
#include "support/support.h"

namespace vernier {
namespace {

ImportanceFile sample() {
  ImportanceFile file;
  file.entries.push_back({"blk.0.attn_q.weight", {1, 4, 9}, {2}});
  file.entries.push_back({"blk.0.ffn_up_exps.weight", {1, 2, 0, 0, 5, 6}, {10, 0, 4}});
  file.datasets = {"a text"};
  file.chunks = 3;
  file.chunk_tokens = 4;
  return file;
}

Result<ImportanceFile> parse(const std::string& bytes) {
  return parse_imatrix(std::as_bytes(std::span(bytes)), "test.imatrix");
}

void expect_refused(const std::string& bytes, const std::vector<std::string>& parts) {
  const auto file = parse(bytes);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().message.find("test.imatrix"), std::string::npos) << file.error().text();
  for (const std::string& part : parts)
    EXPECT_NE(file.error().message.find(part), std::string::npos) << part << " in " << file.error().text();
}

TEST(Imatrix, GgufComesBackAsItWas) {
  const ImportanceFile wanted = sample();
  const auto file = parse(imatrix_bytes(wanted, ImatrixKind::gguf));
  VN_ASSERT_OK(file);
  ASSERT_EQ(file->entries.size(), wanted.entries.size());
  for (std::size_t i = 0; i < wanted.entries.size(); ++i) {
    EXPECT_EQ(file->entries[i].name, wanted.entries[i].name);
    EXPECT_EQ(file->entries[i].sums, wanted.entries[i].sums);
    EXPECT_EQ(file->entries[i].counts, wanted.entries[i].counts);
  }
  EXPECT_EQ(file->datasets, wanted.datasets);
  EXPECT_EQ(file->chunks, wanted.chunks);
  EXPECT_EQ(file->chunk_tokens, wanted.chunk_tokens);
}

// Sums and counts are folded into one number of calls; the means stay.
TEST(Imatrix, DatKeepsTheMeans) {
  const ImportanceFile wanted = sample();
  const auto file = parse(imatrix_bytes(wanted, ImatrixKind::dat));
  VN_ASSERT_OK(file);
  ASSERT_EQ(file->entries.size(), wanted.entries.size());
  for (std::size_t i = 0; i < wanted.entries.size(); ++i) {
    const auto matrices = static_cast<std::int64_t>(wanted.entries[i].counts.size());
    for (std::int64_t m = 0; m < matrices; ++m) {
      const auto a = file->entries[i].means(m, matrices), b = wanted.entries[i].means(m, matrices);
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c], b[c], 1e-6 * b[c]);
    }
  }
  EXPECT_EQ(file->chunks, wanted.chunks);
  EXPECT_EQ(file->datasets, wanted.datasets);
}

TEST(Imatrix, NoTokensMeanThatAllColumnsWeighTheSame) {
  const ImportanceEntry entry = sample().entries[1];
  EXPECT_EQ(entry.means(1, 3), (std::vector<float>{1, 1}));
  EXPECT_EQ(entry.means(2, 3), (std::vector<float>{1.25f, 1.5f}));
}

TEST(Imatrix, NumbersThatAreNoSumsAreRefused) {
  for (const float wrong : {-1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const ImatrixKind kind : {ImatrixKind::gguf, ImatrixKind::dat}) {
      ImportanceFile file = sample();
      file.entries[0].sums[1] = wrong;
      expect_refused(imatrix_bytes(file, kind), {"blk.0.attn_q.weight", "sum 1"});
    }
    ImportanceFile file = sample();
    file.entries[1].counts[2] = wrong;
    expect_refused(imatrix_bytes(file, ImatrixKind::gguf), {"blk.0.ffn_up_exps.weight", "count 2"});
  }
  ImportanceFile twice = sample();
  twice.entries.push_back(twice.entries[0]);
  expect_refused(imatrix_bytes(twice, ImatrixKind::dat), {"blk.0.attn_q.weight", "twice"});
}

TEST(Imatrix, EveryTruncationIsRefused) {
  for (const ImatrixKind kind : {ImatrixKind::gguf, ImatrixKind::dat}) {
    const std::string whole = imatrix_bytes(sample(), kind);
    const std::size_t tail = kind == ImatrixKind::dat ? 4 + 4 + std::strlen("a text") : 32;  // optional; padding
    for (std::size_t size = 0; size + tail < whole.size(); ++size) EXPECT_FALSE(parse(whole.substr(0, size)).ok());
  }
}

TEST(Imatrix, LengthsOfADatThatLieAreRefused) {
  const std::string whole = imatrix_bytes(sample(), ImatrixKind::dat);
  const auto with = [&](std::size_t at, std::int32_t value) {
    std::string bytes = whole;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return bytes;
  };
  const std::size_t name = 4 + 4, calls = name + std::strlen("blk.0.attn_q.weight"), values = calls + 4;
  for (const std::int32_t count : {0, -1, 1 << 30}) expect_refused(with(0, count), {"entries"});
  for (const std::int32_t length : {-1, 0, 1 << 20}) EXPECT_FALSE(parse(with(4, length)).ok());
  expect_refused(with(calls, -1), {"blk.0.attn_q.weight", "-1 calls"});
  for (const std::int32_t count : {0, -3, 1 << 30}) expect_refused(with(values, count), {"blk.0.attn_q.weight"});
  expect_refused(whole + "x", {"1 bytes after its end"});
}

std::string gguf_file(const std::string& type, const std::vector<GgufTensor>& tensors) {
  GgufHeaderWriter header;
  header.text("general.type", type);
  for (const GgufTensor& tensor : tensors) header.tensor(tensor);
  return header.header() + std::string(static_cast<std::size_t>(header.data_bytes()), '\0');
}

TEST(Imatrix, GgufFilesOfOtherThingsAreRefused) {
  const GgufType *f32 = find_gguf_type("f32"), *f16 = find_gguf_type("f16");
  expect_refused(gguf_file("model", {{"a.in_sum2", f32, {1, 4}}, {"a.counts", f32, {1, 1}}}),
                 {"general.type", "\"imatrix\"", "\"model\""});
  expect_refused(gguf_file("imatrix", {}), {"no entries"});
  expect_refused(gguf_file("imatrix", {{"a.in_sum2", f32, {1, 4}}}), {"entry a", "a.counts is missing"});
  expect_refused(gguf_file("imatrix", {{"a.counts", f32, {1, 1}}}), {"entry a", "a.in_sum2 is missing"});
  expect_refused(gguf_file("imatrix", {{"a.weight", f32, {1, 4}}}), {"a.weight", ".in_sum2"});
  expect_refused(gguf_file("imatrix", {{"a.in_sum2", f16, {1, 4}}, {"a.counts", f32, {1, 1}}}),
                 {"a.in_sum2", "f32", "f16"});
  for (const Shape& counts : {Shape{1, 2}, Shape{3, 1}, Shape{2, 2}})
    expect_refused(gguf_file("imatrix", {{"a.in_sum2", f32, {2, 4}}, {"a.counts", f32, counts}}),
                   {"entry a", "[2, 1]", counts.text()});
  // What llama.cpp may add, and how it writes a single matrix.
  VN_EXPECT_OK(
      parse(gguf_file("imatrix", {{"a.in_sum2", f32, {4}}, {"a.counts", f32, Shape{1}}, {"a.in_sum", f32, {4}}})));
}

}  // namespace
}  // namespace vernier
