// What recipes set of a sweep, and its limits.
#include "base/fail.h"
#include "methods/gptq/solve.h"

namespace vernier::gptq {

std::vector<OptionSchema> sweep_options(std::string order, std::vector<std::string_view> orders) {
  return {
      {"damp", 0.01, "fraction of the mean diagonal added to the Hessian", {}},
      {"damp_step", 0.01, "first increase of damp when the factor fails; doubles each time", {}},
      {"order", std::move(order), "order of columns", std::move(orders)},
      {"block", std::int64_t{128}, "columns between two updates of the rest; results do not depend on it", {}},
  };
}

Settings settings_from(const Options& options) {
  return {.damp = options.number("damp"),
          .damp_step = options.number("damp_step"),
          .order = order_from_name(options.text("order")),
          .block = options.integer("block")};
}

Status check_settings(const Settings& s, std::string_view method) {
  if (!(s.damp >= 0 && s.damp < 1))
    return fail(ErrorCode::invalid, "{}.damp: 0 <= damp < 1 wanted, found {}", method, s.damp);
  if (!(s.damp_step >= 0 && s.damp_step < 1))
    return fail(ErrorCode::invalid, "{}.damp_step: 0 <= damp_step < 1 wanted, found {}", method, s.damp_step);
  if (s.block < 1 || s.block > 4096)
    return fail(ErrorCode::invalid, "{}.block: 1 to 4096 columns wanted, found {}", method, s.block);
  if (s.refine < 0 || s.refine > 100)
    return fail(ErrorCode::invalid, "{}.refine: 0 to 100 passes wanted, found {}", method, s.refine);
  return {};
}

}  // namespace vernier::gptq
