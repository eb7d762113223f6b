#include <cmath>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "support/support.h"

namespace vernier {
namespace {

Result<int> half(int value) {
  if (value % 2) return fail(ErrorCode::invalid, "{} is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  VN_ASSIGN(const int first, half(value));
  VN_ASSIGN(const int second, half(first));
  return second;
}

TEST(Result, CarriesValuesAndErrorsThroughMacros) {
  EXPECT_EQ(*quarter(12), 3);
  const auto failed = quarter(6);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "3 is odd");
  EXPECT_EQ(with_hint(failed.error(), "try 8").text(), "3 is odd (try 8)");
}

TEST(Memory, ParsesAmounts) {
  EXPECT_EQ(*parse_bytes("4G"), std::int64_t{4} << 30);
  EXPECT_EQ(*parse_bytes("1.5 GiB"), std::int64_t{3} << 29);
  EXPECT_EQ(*parse_bytes("512mb"), std::int64_t{512} << 20);
  EXPECT_EQ(*parse_bytes("100"), 100);
  for (const char* bad : {"", "G", "4X", "-1G", "4G4", "1e30T", "nan"}) EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
  EXPECT_EQ(format_bytes(std::int64_t{3} << 29), "1.50 GiB");
}

TEST(Memory, SeesItsOwnPeak) {
  const std::int64_t before = peak_resident_bytes();
  {
    std::vector<char> block(64 << 20, 1);
    EXPECT_GE(peak_resident_bytes(), before + (32 << 20)) << block[5];
  }
  EXPECT_GT(resident_bytes(), 0);
}

TEST(Json, RejectsWhatIsNotOneDocument) {
  EXPECT_EQ((*parse_json(R"({"b": 1, "a": [true, null]})", "x")).dump(), R"({"b":1,"a":[true,null]})");
  const std::string deep(200, '[');
  for (const std::string& bad :
       {std::string(""), std::string("{"), std::string("{} {}"), std::string("{\"a\":1,\"a\":2}"), std::string("[01]"),
        std::string("\xff"), deep + std::string(200, ']')}) {
    const auto parsed = parse_json(bad, "where.json");
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_NE(parsed.error().message.find("where.json"), std::string::npos);
  }
}

TEST(Random, IsUniformNormalAndStable) {
  const Random random(7), same(7), other(8);
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double n = random.normal(i);
    sum += n;
    squares += n * n;
    EXPECT_EQ(random.bits(i), same.bits(i));
    EXPECT_LT(random.below(i, 10), 10u);
  }
  EXPECT_NE(random.bits(1), other.bits(1));
  EXPECT_NEAR(sum / 100000, 0, 0.02);
  EXPECT_NEAR(squares / 100000, 1, 0.02);
}

TEST(Fingerprint, SeparatesNeighbours) {
  EXPECT_EQ(Fingerprint().add("ab").hex(), Fingerprint().add("ab").hex());
  EXPECT_NE(Fingerprint().add("ab").add("c").hex(), Fingerprint().add("a").add("bc").hex());
  EXPECT_NE(Fingerprint().add("").hex(), Fingerprint().hex());
  EXPECT_EQ(Fingerprint().add("vernier").hex().size(), 32u);
}

TEST(Interrupt, IsAFlag) {
  EXPECT_TRUE(check_interrupt().ok());
  request_interrupt();
  EXPECT_EQ(check_interrupt().error().code, ErrorCode::interrupted);
  clear_interrupt();
  EXPECT_TRUE(check_interrupt().ok());
}

TEST(Cpu, ForcedIsaMustBeSupported) {
  EXPECT_FALSE(force_isa("mmx9"));
  EXPECT_TRUE(supports(Isa::scalar));
  EXPECT_FALSE(cpu_model().empty());
}

}  // namespace
}  // namespace vernier
