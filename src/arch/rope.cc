#include "arch/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/fail.h"

namespace vernier {
namespace {

struct RopeInput {
  ConfigReader scaling;  // rope_scaling or rope_parameters
  double theta;
  std::int64_t head_dim;
  double max_positions;       // max_position_embeddings
  double original_positions;  // before the context was extended
};

Result<double> positive(const ConfigReader& config, std::string_view key, double fallback) {
  VN_ASSIGN(const double value, config.number(key, fallback));
  if (value > 0) return value;
  return fail(ErrorCode::invalid, "{}: {}: wanted a number above 0, found {}", config.where(), key, value);
}

// A scaling key that has no default.
Result<double> required(const ConfigReader& config, std::string_view key) {
  if (config.find(key) == nullptr)
    return fail(ErrorCode::not_found, "{}: {}: wanted a number, found nothing", config.where(), key);
  return positive(config, key, 0);
}

// Wavelengths above original / low_freq_factor stretch by `factor`, those below original / high_freq_factor stay, in
// between the two blend linearly in the number of turns.
Status apply_llama3(const RopeInput& in, Rope& rope) {
  VN_ASSIGN(const double factor, required(in.scaling, "factor"));
  VN_ASSIGN(const double low, required(in.scaling, "low_freq_factor"));
  VN_ASSIGN(const double high, required(in.scaling, "high_freq_factor"));
  if (high <= low) return in.scaling.refuse("high_freq_factor", fmt::format("a number above low_freq_factor {}", low));
  for (float& f : rope.inverse_frequency) {
    const double turns = in.original_positions * f / (2 * std::numbers::pi);
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    f = static_cast<float>((1 - keep) * f / factor + keep * f);
  }
  return {};
}

double yarn_temperature(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

Status apply_yarn(const RopeInput& in, Rope& rope) {
  VN_ASSIGN(const double factor, positive(in.scaling, "factor", in.max_positions / in.original_positions));
  VN_ASSIGN(const double fast, positive(in.scaling, "beta_fast", 32));
  VN_ASSIGN(const double slow, positive(in.scaling, "beta_slow", 1));
  VN_ASSIGN(const double mscale, in.scaling.number("mscale", 0));
  VN_ASSIGN(const double mscale_all, in.scaling.number("mscale_all_dim", 0));
  VN_ASSIGN(const bool truncate, in.scaling.boolean("truncate", true));
  const double temperature = mscale != 0 && mscale_all != 0
                                 ? yarn_temperature(factor, mscale) / yarn_temperature(factor, mscale_all)
                                 : yarn_temperature(factor, 1);
  VN_ASSIGN(const double magnitude, positive(in.scaling, "attention_factor", temperature));
  rope.magnitude = static_cast<float>(magnitude);

  // The (fractional) pair that makes `turns` turns over the original context.
  const auto pair_of = [&](double turns) {
    return in.head_dim * std::log(in.original_positions / (turns * 2 * std::numbers::pi)) / (2 * std::log(in.theta));
  };
  double first = pair_of(fast), last = pair_of(slow);
  if (truncate) first = std::floor(first), last = std::ceil(last);
  first = std::max(first, 0.0);
  last = std::min(last, in.head_dim - 1.0);
  if (first == last) last += 0.001;
  for (std::size_t j = 0; j < rope.inverse_frequency.size(); ++j) {
    float& f = rope.inverse_frequency[j];
    const double interpolate = std::clamp((static_cast<double>(j) - first) / (last - first), 0.0, 1.0);
    f = static_cast<float>(interpolate * f / factor + (1 - interpolate) * f);
  }
  return {};
}

Status apply_linear(const RopeInput& in, Rope& rope) {
  VN_ASSIGN(const double factor, required(in.scaling, "factor"));
  for (float& f : rope.inverse_frequency) f = static_cast<float>(f / factor);
  return {};
}

// Each frequency divided by its own factor: what GGUF files keep of llama3's rule.
Status apply_factors(const RopeInput& in, Rope& rope) {
  const Json* factors = in.scaling.find("factors");
  if (factors == nullptr || !factors->is_array() || factors->size() != rope.inverse_frequency.size())
    return fail(ErrorCode::invalid, "{}: factors: wanted a list of {} numbers", in.scaling.where(),
                rope.inverse_frequency.size());
  for (std::size_t j = 0; j < factors->size(); ++j) {
    const Json& factor = (*factors)[j];
    if (!factor.is_number() || !(factor.get<double>() > 0))
      return fail(ErrorCode::invalid, "{}: factors[{}]: wanted a number above 0", in.scaling.where(), j);
    rope.inverse_frequency[j] = static_cast<float>(rope.inverse_frequency[j] / factor.get<double>());
  }
  return {};
}

Status apply_nothing(const RopeInput&, Rope&) { return {}; }

struct ScalingRule {
  std::string_view type;
  Status (*apply)(const RopeInput& in, Rope& rope);
};
constexpr ScalingRule kRules[] = {{"default", apply_nothing}, {"linear", apply_linear}, {"dynamic", apply_nothing},
                                  {"factors", apply_factors}, {"llama3", apply_llama3}, {"yarn", apply_yarn}};

// rope_scaling where it says anything, else rope_parameters; an empty reader when neither does.
Result<ConfigReader> scaling_of(const ConfigReader& config) {
  static const Json kNothing = Json::object();
  for (std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* found = config.find(key);
    if (found == nullptr || (found->is_object() && found->empty())) continue;
    if (!found->is_object()) return config.refuse(key, "an object");
    for (const Json& value : *found)
      if (value.is_object()) return config.refuse(key, "one set of parameters for all layers");
    return ConfigReader(*found, fmt::format("{}: {}", config.where(), key));
  }
  return ConfigReader(kNothing, config.where());
}

Status refuse_partial(const ConfigReader& config) {
  VN_ASSIGN(const double partial, config.number("partial_rotary_factor", 1));
  return partial == 1 ? Status() : config.refuse("partial_rotary_factor", "1");
}

}  // namespace

Result<Rope> read_rope(const ConfigReader& config, std::int64_t head_dim, std::int64_t max_positions,
                       double default_theta) {
  if (head_dim % 2 != 0)
    return fail(ErrorCode::unsupported, "{}: head_dim: wanted an even number for rotary positions, found {}",
                config.where(), head_dim);
  VN_TRY(refuse_partial(config));
  VN_ASSIGN(const ConfigReader scaling, scaling_of(config));
  VN_TRY(refuse_partial(scaling));
  VN_ASSIGN(const double outer_theta, positive(config, "rope_theta", default_theta));
  VN_ASSIGN(const double theta, positive(scaling, "rope_theta", outer_theta));
  if (theta <= 1) return scaling.refuse("rope_theta", "a number above 1");

  VN_ASSIGN(const double inner_original,
            positive(scaling, "original_max_position_embeddings", static_cast<double>(max_positions)));
  VN_ASSIGN(const double original, positive(config, "original_max_position_embeddings", inner_original));
  VN_ASSIGN(const std::string older_type, scaling.string("type", "default"));
  VN_ASSIGN(const std::string type, scaling.string("rope_type", older_type));

  Rope rope;
  // Rounded where the models' own code rounds to float, so that angles agree at far positions.
  for (std::int64_t j = 0; j < head_dim / 2; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(head_dim);
    rope.inverse_frequency.push_back(1.0f / static_cast<float>(std::pow(theta, exponent)));
  }
  const auto rule =
      std::find_if(std::begin(kRules), std::end(kRules), [&](const ScalingRule& r) { return r.type == type; });
  if (rule == std::end(kRules)) {
    std::string known;
    for (const ScalingRule& r : kRules) known += (known.empty() ? "" : ", ") + std::string(r.type);
    return scaling.refuse(scaling.find("rope_type") ? "rope_type" : "type", "one of " + known);
  }
  VN_TRY(rule->apply({scaling, theta, head_dim, static_cast<double>(max_positions), original}, rope));
  return rope;
}

}  // namespace vernier
