// vernier imatrix and quantize --imatrix, as a user runs them.
#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "containers/container.h"
#include "io/files.h"
#include "io/imatrix.h"
#include "support/support.h"

namespace vernier {
namespace {

using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::read_file;
using testing::run_vernier;

std::string architecture(const std::string& name) {
  return testing::source_dir() + "/tests/golden/architectures/" + name;
}

// Gathers into `file` from a few random tokens.
Outcome gather(const std::string& model, const std::string& file, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"imatrix", model,       "-o", file,    "--calib",
                                     "random",  "--samples", "4",  "--ctx", "32"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_vernier(arguments);
}

Outcome quantize(const std::string& out, std::vector<std::string> more) {
  std::vector<std::string> arguments{"quantize", testing::bundled_model(), "-o", out, "--container", "gguf"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_vernier(arguments);
}

TEST(ImatrixCommand, HoldsEveryLinearUnderItsGgufName) {
  const testing::TempDir dir;
  const std::string path = dir.path("m.imatrix");
  const Outcome run = gather(testing::bundled_model(), path, {"--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto file = read_imatrix(path);
  VN_ASSERT_OK(file);
  EXPECT_EQ(file->entries.size(), 6 * 7 + 1);  // six blocks, and the embedding as the tied head
  for (const char* name : {"blk.0.attn_q.weight", "blk.5.ffn_down.weight", "token_embd.weight"}) {
    const auto entry = std::ranges::find(file->entries, name, &ImportanceEntry::name);
    ASSERT_NE(entry, file->entries.end()) << name;
    EXPECT_EQ(entry->counts, std::vector<float>{4 * 32});
    EXPECT_TRUE(std::ranges::any_of(entry->sums, [](float s) { return s > 0; }));
  }
  EXPECT_EQ(file->chunks, 4);
  EXPECT_EQ(file->chunk_tokens, 32);
  const auto json = parse_json(run.out, "stdout");
  VN_ASSERT_OK(json);
  EXPECT_EQ((*json)["entries"].size(), file->entries.size());
  EXPECT_FALSE(file_exists(path + ".run"));
}

// q and k read one value.
TEST(ImatrixCommand, BytesDependOnNeitherThreadsNorMemory) {
  const testing::TempDir dir;
  ASSERT_EQ(gather(testing::bundled_model(), dir.path("a"), {"--threads", "1"}).exit_code, 0);
  ASSERT_EQ(gather(testing::bundled_model(), dir.path("b"), {"--threads", "3", "--memory", "1G"}).exit_code, 0);
  EXPECT_EQ(read_file(dir.path("a")), read_file(dir.path("b")));
  const auto file = read_imatrix(dir.path("a"));
  VN_ASSERT_OK(file);
  const auto sums = [&](const char* name) {
    return std::ranges::find(file->entries, name, &ImportanceEntry::name)->sums;
  };
  EXPECT_EQ(sums("blk.0.attn_q.weight"), sums("blk.0.attn_k.weight"));
  EXPECT_NE(sums("blk.0.attn_q.weight"), sums("blk.1.attn_q.weight"));
  const Outcome small = gather(testing::bundled_model(), dir.path("c"), {"--memory", "1M"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_NE(small.err.find("--memory"), std::string::npos) << small.err;
}

// Experts of one projection are one entry; a token counts for as many experts as it goes to.
TEST(ImatrixCommand, StacksExperts) {
  const testing::TempDir dir;
  const std::string path = dir.path("m.imatrix");
  ASSERT_EQ(gather(architecture("mixtral"), path).exit_code, 0);
  const auto file = read_imatrix(path);
  VN_ASSERT_OK(file);
  const auto source = open_model(architecture("mixtral"));
  VN_ASSERT_OK(source);
  const auto route = std::ranges::find((*source)->graph().blocks[0].ops, OpKind::route, &Op::kind);
  const auto up = std::ranges::find(file->entries, "blk.0.ffn_up_exps.weight", &ImportanceEntry::name);
  ASSERT_NE(up, file->entries.end());
  ASSERT_EQ(static_cast<std::int64_t>(up->counts.size()),
            static_cast<std::int64_t>((*source)->config()["num_local_experts"]));
  float tokens = 0;
  for (const float count : up->counts) tokens += count;
  EXPECT_EQ(tokens, 4 * 32 * static_cast<float>(route->top_k));
  EXPECT_NE(std::ranges::find(file->entries, "blk.0.ffn_gate_inp.weight", &ImportanceEntry::name), file->entries.end());
}

TEST(ImatrixCommand, QuantizeHeedsTheFileAndNeedsNoCalibration) {
  const testing::TempDir dir;
  const std::string gguf = dir.path("m.imatrix"), dat = dir.path("m.dat");
  ASSERT_EQ(gather(testing::bundled_model(), gguf).exit_code, 0);
  ASSERT_EQ(gather(testing::bundled_model(), dat, {"--format", "dat"}).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("plain"), {"--recipe", "gguf-q3_k_m"}).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("a"), {"--recipe", "gguf-q3_k_m", "--imatrix", gguf}).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("b"), {"--recipe", "gguf-q3_k_m-imatrix", "--imatrix", gguf}).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("c"), {"--recipe", "gguf-q3_k_m", "--imatrix", dat}).exit_code, 0);
  const std::string weighted = read_file(dir.path("a") + "/model.gguf");
  EXPECT_NE(weighted, read_file(dir.path("plain") + "/model.gguf"));
  EXPECT_EQ(weighted, read_file(dir.path("b") + "/model.gguf"));
  EXPECT_EQ(weighted.size(), read_file(dir.path("c") + "/model.gguf").size());
  const Outcome plan = run_vernier({"plan", testing::bundled_model(), "--recipe", "gguf-q3_k_m-imatrix", "--imatrix",
                                    gguf, "--container", "gguf", "--json"});
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  const auto json = parse_json(plan.out, "stdout");
  VN_ASSERT_OK(json);
  EXPECT_EQ((*json)["calibrated"], false);
}

TEST(ImatrixCommand, WithoutAFileCalibrationGivesTheImportance) {
  const testing::TempDir dir;
  const std::vector<std::string> few{"--calib", "random", "--samples", "4", "--ctx", "32"};
  std::vector<std::string> weighted{"--recipe", "gguf-q3_k_m-imatrix"},
      one{"--recipe", "gguf-q3_k_m-imatrix", "--threads", "1"};
  weighted.insert(weighted.end(), few.begin(), few.end());
  one.insert(one.end(), few.begin(), few.end());
  ASSERT_EQ(quantize(dir.path("a"), weighted).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("b"), one).exit_code, 0);
  ASSERT_EQ(quantize(dir.path("plain"), {"--recipe", "gguf-q3_k_m"}).exit_code, 0);
  EXPECT_EQ(read_file(dir.path("a") + "/model.gguf"), read_file(dir.path("b") + "/model.gguf"));
  EXPECT_NE(read_file(dir.path("a") + "/model.gguf"), read_file(dir.path("plain") + "/model.gguf"));
}

TEST(ImatrixCommand, FilesOfOtherModelsAreRefused) {
  const testing::TempDir dir;
  const std::string path = dir.path("m.imatrix");
  ASSERT_EQ(gather(testing::bundled_model(), path).exit_code, 0);
  const ImportanceFile whole = read_imatrix(path).value();
  const auto refused = [&](const ImportanceFile& file, const std::vector<std::string>& parts) {
    VN_ASSERT_OK(write_file_atomic(path, imatrix_bytes(file, ImatrixKind::gguf)));
    const Outcome run = quantize(dir.path("out"), {"--recipe", "gguf-q4_k", "--imatrix", path});
    EXPECT_EQ(run.exit_code, 1);
    for (const std::string& part : parts) EXPECT_NE(run.err.find(part), std::string::npos) << part << "\n" << run.err;
  };
  ImportanceFile lacking = whole;
  std::erase_if(lacking.entries, [](const ImportanceEntry& e) { return e.name == "blk.2.attn_k.weight"; });
  refused(lacking, {"blk.2.attn_k.weight", "model.layers.2.self_attn.k_proj.weight"});
  ImportanceFile narrow = whole;
  narrow.entries[0].sums.pop_back();
  refused(narrow, {narrow.entries[0].name, "256", "255"});
  ImportanceFile stranger = whole;
  stranger.entries.push_back({"blk.9.attn_q.weight", {1}, {1}});
  refused(stranger, {"blk.9.attn_q.weight", "no weight of this model"});
  EXPECT_EQ(quantize(dir.path("out"), {"--recipe", "gguf-q4_k", "--imatrix", dir.path("none")}).exit_code, 1);
  VN_ASSERT_OK(write_file_atomic(path, imatrix_bytes(whole, ImatrixKind::gguf)));
  const Outcome moved = run_vernier(
      {"quantize", testing::bundled_model(), "-o", dir.path("out"), "--recipe", "w4a16-awq", "--imatrix", path});
  EXPECT_EQ(moved.exit_code, 1);
  EXPECT_NE(moved.err.find("transform awq"), std::string::npos) << moved.err;
}

// The journal knows the file a run began with.
TEST(ImatrixCommand, AChangedFileDoesNotResume) {
  const testing::TempDir dir;
  const std::string path = dir.path("m.imatrix"), out = dir.path("out");
  ASSERT_EQ(gather(testing::bundled_model(), path).exit_code, 0);
  ASSERT_EQ(quantize(out, {"--recipe", "gguf-q4_k", "--imatrix", path}).exit_code, 0);
  ASSERT_EQ(quantize(out, {"--recipe", "gguf-q4_k", "--imatrix", path}).exit_code, 0);
  ImportanceFile file = read_imatrix(path).value();
  file.entries[3].sums[5] *= 2;
  VN_ASSERT_OK(write_file_atomic(path, imatrix_bytes(file, ImatrixKind::gguf)));
  const Outcome run = quantize(out, {"--recipe", "gguf-q4_k", "--imatrix", path});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("importance matrix"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace vernier
