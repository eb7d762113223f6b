#include "io/safetensors.h"

#include <fstream>

#include "io/checkpoint.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

std::string file_of(const std::string& json, std::size_t data_bytes) {
  const std::uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json + std::string(data_bytes, '\0');
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file.data(), file.size())), static_cast<std::int64_t>(file.size()),
                           "m.safetensors");
}

TEST(Safetensors, KnownVector) {
  // handbook, formats, part 2: 142 bytes of JSON; with the length word padded to 192; 14 bytes of data.
  const auto plan = plan_safetensors({{"b", DType::bf16, {1, 3}}, {"a", DType::f32, {2}}}, {{"format", "pt"}});
  EXPECT_EQ(plan.header.size(), 192u);
  EXPECT_EQ(plan.file_bytes(), 206);
  EXPECT_EQ(plan.entries[0].name, "a");
  const auto header = parse(plan.header + std::string(14, '\0'));
  VN_ASSERT_OK(header);
  EXPECT_EQ(header->entries[1].begin, 8);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(Safetensors, WholeLinesAreAligned) {
  const auto plan = plan_safetensors(
      {{"norm", DType::f32, {3}}, {"panels", DType::u8, {128}}, {"odd", DType::u8, {7}}, {"more", DType::u8, {64}}},
      {});
  EXPECT_EQ(plan.header.size() % 64, 0u);
  std::vector<std::string> order;
  for (const TensorEntry& entry : plan.entries) {
    order.push_back(entry.name);
    EXPECT_TRUE(entry.bytes() % 64 != 0 || entry.begin % 64 == 0) << entry.name;
  }
  EXPECT_EQ(order, (std::vector<std::string>{"more", "panels", "norm", "odd"}));
}

struct Bad {
  const char* name;
  std::string json;
  std::size_t data;
  const char* says;
};

class BadHeaders : public ::testing::TestWithParam<Bad> {};

TEST_P(BadHeaders, AreRefusedByName) {
  const auto header = parse(file_of(GetParam().json, GetParam().data));
  ASSERT_FALSE(header.ok());
  EXPECT_NE(header.error().message.find(GetParam().says), std::string::npos) << header.error().message;
  EXPECT_NE(header.error().message.find("m.safetensors"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHeaders,
    ::testing::Values(
        Bad{"overlap",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
            6, "overlap"},
        Bad{"hole",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})",
            6, "hole"},
        Bad{"truncated", R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 15, "need"},
        Bad{"dtype", R"({"a":{"dtype":"F7","shape":[4],"data_offsets":[0,16]}})", 16, "F7"},
        Bad{"size", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}})", 16, "takes 12 bytes"},
        Bad{"overflow", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}})", 16,
            "too many"},
        Bad{"negative", R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", 16, "whole number"},
        Bad{"backwards", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4, "data_offsets"},
        Bad{"missing", R"({"a":{"dtype":"F32","shape":[4]}})", 16, "wanted dtype"},
        Bad{"twice",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            2, "twice"},
        Bad{"not_json", "{nonsense}", 0, "JSON"}, Bad{"array", "[]", 0, "'{'"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, LengthBeyondTheFileIsRefused) {
  std::string file = file_of("{}", 0);
  file[1] = 1;
  EXPECT_NE(parse(file).error().message.find("header of"), std::string::npos);
  EXPECT_FALSE(parse("short").ok());
  EXPECT_FALSE(parse(std::string(8, '\xff')).ok());
}

TEST(Writer, TensorsInAnyOrderAndAgainAfterAKill) {
  testing::TempDir dir;
  const auto plan = plan_safetensors({{"x", DType::u8, {5}}, {"y", DType::f32, {2}}}, {});
  const std::string x = "hello", y = "12345678";
  const auto bytes = [](const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); };
  {
    auto writer = SafetensorsWriter::open(dir.path("m.safetensors"), plan);
    VN_ASSERT_OK(writer);
    VN_ASSERT_OK((*writer)->write("x", bytes(x)));
  }
  EXPECT_FALSE(file_exists(dir.path("m.safetensors")));
  auto writer = SafetensorsWriter::open(dir.path("m.safetensors"), plan);
  VN_ASSERT_OK(writer);
  EXPECT_FALSE((*writer)->write("y", bytes(x)).ok());
  EXPECT_FALSE((*writer)->write("z", bytes(x)).ok());
  VN_ASSERT_OK((*writer)->write_part("y", 4, bytes(y).subspan(4)));
  VN_ASSERT_OK((*writer)->write_part("y", 0, bytes(y).first(4)));
  EXPECT_FALSE((*writer)->write_part("y", 6, bytes(y).first(4)).ok());
  VN_ASSERT_OK((*writer)->finish());
  EXPECT_EQ(*read_text_file(dir.path("m.safetensors")), plan.header + y + x);
}

TEST(Checkpoint, BundledModelOpens) {
  auto checkpoint = Checkpoint::open(testing::bundled_model());
  VN_ASSERT_OK(checkpoint);
  EXPECT_EQ((*checkpoint)->view("model.norm.weight")->shape, Shape({256}));
  const auto missing = (*checkpoint)->view("model.norm.weigth");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().hint.find("model.norm.weight"), std::string::npos);
  EXPECT_EQ((*checkpoint)->fingerprint(), Checkpoint::open(testing::bundled_model()).value()->fingerprint());
}

TEST(Checkpoint, IndexMustAgreeWithFiles) {
  testing::TempDir dir;
  std::ofstream(dir.path("config.json")) << "{}";
  EXPECT_EQ(Checkpoint::open(dir.path()).error().code, ErrorCode::not_found);
  const std::string shard = file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  std::ofstream(dir.path("one.safetensors"), std::ios::binary) << shard;
  const auto index = [&](const std::string& map) {
    std::ofstream(dir.path("model.safetensors.index.json")) << R"({"weight_map":)" << map << "}";
    return Checkpoint::open(dir.path());
  };
  VN_EXPECT_OK(index(R"({"a":"one.safetensors"})"));
  EXPECT_NE(index(R"({"a":"one.safetensors","b":"one.safetensors"})").error().message.find("tensor b"),
            std::string::npos);
  EXPECT_NE(index(R"({"b":"one.safetensors"})").error().message.find("tensor a"), std::string::npos);
  EXPECT_NE(index(R"({"a":"two.safetensors"})").error().message.find("two.safetensors"), std::string::npos);
  EXPECT_FALSE(index(R"({"a":"../one.safetensors"})").ok());
  EXPECT_FALSE(index("3").ok());
}

TEST(Files, AtomicWritesAndRefusals) {
  testing::TempDir dir;
  VN_ASSERT_OK(write_file_atomic(dir.path("f"), "one"));
  VN_ASSERT_OK(write_file_atomic(dir.path("f"), "two"));
  EXPECT_EQ(*read_text_file(dir.path("f")), "two");
  EXPECT_FALSE(file_exists(dir.path("f.part")));
  EXPECT_FALSE(write_file_atomic(dir.path("no/such/folder"), "x").ok());
  EXPECT_FALSE(read_text_file(dir.path()).ok());
  EXPECT_FALSE(read_text_file(dir.path("f"), 2).ok());
  VN_ASSERT_OK(append_durable(dir.path("f"), "\n"));
  EXPECT_EQ(*read_text_file(dir.path("f")), "two\n");
}

TEST(Files, NearestNameAndUtf8) {
  EXPECT_EQ(nearest("weights.bit", {"weights.bits", "activations.bits"}), "weights.bits");
  EXPECT_EQ(nearest("zzz", {"weights.bits"}), "");
  std::int64_t replaced = 0;
  EXPECT_EQ(sanitize_utf8("a\xFFz\xC3\xA9\xE2\x82", &replaced), "a\xEF\xBF\xBDz\xC3\xA9\xEF\xBF\xBD");
  EXPECT_EQ(replaced, 2);
  EXPECT_EQ(sanitize_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(sanitize_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

}  // namespace
}  // namespace vernier
