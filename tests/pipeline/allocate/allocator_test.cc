// The allocator against every choice there is.
#include <optional>
#include <random>

#include "pipeline/allocate/allocator.h"
#include "support/support.h"

namespace vernier {
namespace {

// The least cost of all choices within the limits.
std::optional<double> least_cost(const std::vector<AllocationItem>& items, const AllocationLimits& limits,
                                 std::size_t first = 0, double cost = 0, std::int64_t bits = 0) {
  if (first == items.size()) {
    if (bits < limits.least_bits || bits > limits.most_bits) return std::nullopt;
    return cost;
  }
  std::optional<double> best;
  for (const AllocationCandidate& candidate : items[first]) {
    const auto found = least_cost(items, limits, first + 1, cost + candidate.cost, bits + candidate.bits);
    if (found && (!best || *found < *best)) best = found;
  }
  return best;
}

// Costs fall with the size, roughly; sizes share a factor, as those of blocks do.
std::vector<AllocationItem> random_items(std::mt19937& random, std::int64_t unit) {
  std::vector<AllocationItem> items(3 + random() % 5);
  for (AllocationItem& item : items) {
    const double scale = std::exp(std::uniform_real_distribution<double>(-9, 0)(random));
    const std::int64_t weights = 1 + random() % 20;
    item.resize(1 + random() % 4);
    for (std::size_t c = 0; c < item.size(); ++c) {
      const double bits = 2 + 1.5 * static_cast<double>(c);
      item[c].cost = scale * std::exp2(-2 * bits) * std::uniform_real_distribution<double>(0.3, 2)(random);
      item[c].bits = unit * static_cast<std::int64_t>(static_cast<double>(weights) * 2 * bits);
    }
  }
  return items;
}

TEST(Allocator, FindsTheLeastCostOfAllChoices) {
  std::mt19937 random(3);
  int feasible = 0, refused = 0;
  for (int round = 0; round < 300; ++round) {
    const std::vector<AllocationItem> items = random_items(random, round % 2 ? 1 : 24576);
    std::int64_t least = 0, most = 0;
    for (const AllocationItem& item : items) least += item.front().bits, most += item.back().bits;
    AllocationLimits limits{.gap = 0};
    limits.most_bits = std::uniform_int_distribution<std::int64_t>(least - least / 8, most + 1)(random);
    limits.least_bits = limits.most_bits - limits.most_bits / std::uniform_int_distribution<int>(10, 200)(random);
    SCOPED_TRACE(round);
    const auto wanted = least_cost(items, limits);
    const auto found = allocate(items, limits);
    ASSERT_EQ(found.ok(), wanted.has_value()) << (found.ok() ? "" : found.error().text());
    if (!wanted) {
      EXPECT_EQ(found.error().code, ErrorCode::not_found);
      ++refused;
      continue;
    }
    ++feasible;
    ASSERT_EQ(found->choice.size(), items.size());
    double cost = 0;
    std::int64_t bits = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      ASSERT_LT(found->choice[i], items[i].size());
      cost += items[i][found->choice[i]].cost;
      bits += items[i][found->choice[i]].bits;
    }
    EXPECT_EQ(found->bits, bits);
    EXPECT_DOUBLE_EQ(found->cost, cost);
    EXPECT_LE(bits, limits.most_bits);
    EXPECT_GE(bits, limits.least_bits);
    EXPECT_NEAR(cost, *wanted, 1e-6 * *wanted);
    EXPECT_EQ(found->gap, 0);
  }
  EXPECT_GT(feasible, 50);
  EXPECT_GT(refused, 20);
}

// A model of a few hundred tensors: the gap that is claimed holds against the bound of the relaxed program, which here
// is found by bisection on the price of a bit.
TEST(Allocator, StatesAGapThatHolds) {
  std::mt19937 random(7);
  std::vector<AllocationItem> items;
  std::int64_t least = 0, most = 0;
  for (int i = 0; i < 300; ++i) {
    const double scale = std::exp(std::uniform_real_distribution<double>(-4, 0)(random));
    const std::int64_t weights = (1 + i % 7) * 65536;
    AllocationItem item;
    for (const double bits : {2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5})
      item.push_back({scale * std::exp2(-2 * bits), static_cast<std::int64_t>(bits * static_cast<double>(weights))});
    least += item.front().bits, most += item.back().bits;
    items.push_back(item);
  }
  AllocationLimits limits;
  limits.most_bits = least + (most - least) / 3;
  limits.least_bits = limits.most_bits - limits.most_bits / 100;
  const auto found = allocate(items, limits);
  VN_ASSERT_OK(found);
  double bound = 0;  // the Lagrangian's largest value bounds every choice's cost from below
  for (double price = 1e-12; price < 1e-3; price *= 1.02) {
    double value = -price * static_cast<double>(limits.most_bits);
    for (const AllocationItem& item : items) {
      double best = 1e300;
      for (const AllocationCandidate& c : item) best = std::min(best, c.cost + price * static_cast<double>(c.bits));
      value += best;
    }
    bound = std::max(bound, value);
  }
  EXPECT_LE(found->gap, limits.gap);
  EXPECT_LE(found->cost * (1 - 2e-3), bound);
  EXPECT_GE(found->cost, bound * (1 - 1e-9));
  const auto again = allocate(items, limits);
  VN_ASSERT_OK(again);
  EXPECT_EQ(again->choice, found->choice);
}

TEST(Allocator, UsesTheWholeSizeToTheBit) {
  const std::int64_t large = (std::int64_t{1} << 36) + 1;
  const std::vector<AllocationItem> items{{{1, large}, {0, large + 1}}, {{1, large}, {0, large + 1}}};
  AllocationLimits limits{.least_bits = 2 * large, .most_bits = 2 * large};
  for (std::int64_t more = 0; more <= 2; ++more, ++limits.most_bits) {
    const auto found = allocate(items, limits);
    VN_ASSERT_OK(found);
    EXPECT_EQ(found->cost, 2 - static_cast<double>(more));
    EXPECT_EQ(found->bits, 2 * large + more);
  }
}

TEST(Allocator, RefusesWhatIsNoChoice) {
  const AllocationLimits limits{.least_bits = 0, .most_bits = 100};
  const auto code = [&](const std::vector<AllocationItem>& items) {
    const auto found = allocate(items, limits);
    return found.ok() ? std::nullopt : std::optional(found.error().code);
  };
  EXPECT_EQ(code({}), ErrorCode::not_found);
  EXPECT_EQ(code({{{1, 8}}, {}}), ErrorCode::invalid);
  EXPECT_EQ(code({{{-1, 8}}}), ErrorCode::invalid);
  EXPECT_EQ(code({{{NAN, 8}}}), ErrorCode::invalid);
  EXPECT_EQ(code({{{1, 0}}}), ErrorCode::invalid);
  EXPECT_EQ(code({{{1, 101}}}), ErrorCode::not_found);
}

}  // namespace
}  // namespace vernier
