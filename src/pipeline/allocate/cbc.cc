// The integer program on CBC: a binary variable per candidate, one row for the size, one row a tensor (exactly one
// candidate). The one file that knows the library.
#include <Cbc_C_Interface.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "base/fail.h"
#include "pipeline/allocate/allocator.h"

namespace vernier {
namespace {

struct Delete {
  void operator()(Cbc_Model* model) const { Cbc_deleteModel(model); }
};

// The largest coefficient of the objective: the library takes differences below 1e-5 for none.
constexpr double largest_cost = 1e5;

struct Program {
  std::span<const AllocationItem> items;
  double cost_unit = 1;
  // Sizes are counted from that of every item's smallest candidate, in the largest unit that divides them: whole
  // numbers, small enough to be exact.
  std::int64_t base = 0, size_unit = 0;
  std::vector<int> start{0}, row;
  std::vector<double> value, cost;

  explicit Program(std::span<const AllocationItem> all) : items(all) {
    double most = 0;
    std::vector<std::int64_t> smallest;
    for (const AllocationItem& item : items) {
      smallest.push_back(item[0].bits);
      for (const AllocationCandidate& candidate : item) smallest.back() = std::min(smallest.back(), candidate.bits);
      for (const AllocationCandidate& candidate : item) {
        most = std::max(most, candidate.cost);
        size_unit = std::gcd(size_unit, candidate.bits - smallest.back());
      }
      base += smallest.back();
    }
    size_unit = std::max<std::int64_t>(size_unit, 1);
    if (most > 0) cost_unit = most / largest_cost;
    for (std::size_t i = 0; i < items.size(); ++i)
      for (const AllocationCandidate& candidate : items[i]) {
        row.insert(row.end(), {0, static_cast<int>(i) + 1});
        value.insert(value.end(), {static_cast<double>((candidate.bits - smallest[i]) / size_unit), 1.0});
        start.push_back(static_cast<int>(row.size()));
        cost.push_back(candidate.cost / cost_unit);
      }
  }

  // The choice, not yet held to the limits to the bit; nothing where no choice was found.
  std::optional<Allocation> solve(std::int64_t least, std::int64_t most, const AllocationLimits& limits) const {
    const std::unique_ptr<Cbc_Model, Delete> model(Cbc_newModel());
    const std::size_t columns = cost.size();
    const std::vector<double> zeros(columns, 0), ones(columns, 1);
    std::vector<double> row_low(items.size() + 1, 1), row_high(items.size() + 1, 1);
    row_low[0] = static_cast<double>(least);
    row_high[0] = static_cast<double>(most);
    Cbc_setParameter(model.get(), "log", "0");
    // Version 2.10's preprocessing loses optimal choices of small programs; tests/pipeline/allocate has some.
    Cbc_setParameter(model.get(), "presolve", "off");
    Cbc_setParameter(model.get(), "preprocess", "off");
    Cbc_loadProblem(model.get(), static_cast<int>(columns), static_cast<int>(row_low.size()), start.data(), row.data(),
                    value.data(), zeros.data(), ones.data(), cost.data(), row_low.data(), row_high.data());
    for (std::size_t j = 0; j < columns; ++j) Cbc_setInteger(model.get(), static_cast<int>(j));
    Cbc_setParameter(model.get(), "ratioGap", fmt::format("{}", limits.gap).c_str());
    Cbc_setParameter(model.get(), "maxNodes", fmt::format("{}", limits.nodes).c_str());
    Cbc_setParameter(model.get(), "seconds", fmt::format("{}", limits.seconds).c_str());
    Cbc_solve(model.get());
    const double* solution = Cbc_bestSolution(model.get());
    if (!solution || Cbc_isProvenInfeasible(model.get())) return std::nullopt;
    Allocation made;
    std::size_t column = 0;
    for (const AllocationItem& item : items) {
      const double* first = solution + column;
      made.choice.push_back(static_cast<std::size_t>(std::max_element(first, first + item.size()) - first));
      made.cost += item[made.choice.back()].cost;
      made.bits += item[made.choice.back()].bits;
      column += item.size();
    }
    const double bound = Cbc_getBestPossibleObjValue(model.get()) * cost_unit;
    made.gap = made.cost > 0 ? std::clamp(1 - bound / made.cost, 0.0, 1.0) : 0;
    if (made.gap < 1e-9) made.gap = 0;  // rounding
    return made;
  }
};

Status check(std::span<const AllocationItem> items) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].empty()) return fail(ErrorCode::invalid, "allocation: tensor {} has no candidate", i);
    for (const AllocationCandidate& candidate : items[i])
      if (!std::isfinite(candidate.cost) || candidate.cost < 0 || candidate.bits <= 0)
        return fail(ErrorCode::invalid, "allocation: tensor {} has a candidate of cost {} and {} bits", i,
                    candidate.cost, candidate.bits);
  }
  return {};
}

}  // namespace

Result<Allocation> allocate(std::span<const AllocationItem> items, const AllocationLimits& limits) {
  VN_TRY(check(items));
  const Program program(items);
  // The library's tolerance on the size is relative: where a choice used it, the limits are drawn in and the search
  // repeated.
  std::int64_t least = 0, most = -1;
  if (!items.empty() && limits.most_bits >= program.base) {
    least = (std::max(limits.least_bits, program.base) - program.base + program.size_unit - 1) / program.size_unit;
    most = (limits.most_bits - program.base) / program.size_unit;
  }
  while (least <= most) {
    std::optional<Allocation> made;
    try {
      made = program.solve(least, most, limits);
    } catch (const std::exception& problem) {
      return fail(ErrorCode::failed, "allocation: the integer program solver failed: {}", problem.what());
    } catch (...) {  // CoinError is no std::exception
      return fail(ErrorCode::failed, "allocation: the integer program solver failed");
    }
    if (!made) break;
    if (made->bits > limits.most_bits)
      --most;
    else if (made->bits < limits.least_bits)
      ++least;
    else
      return std::move(*made);
  }
  return fail(ErrorCode::not_found, "allocation: no choice has from {} to {} bits", limits.least_bits,
              limits.most_bits);
}

}  // namespace vernier
