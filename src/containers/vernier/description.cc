#include "containers/vernier/description.h"

#include <algorithm>

#include "arch/architecture.h"
#include "base/fail.h"
#include "io/files.h"
#include "kernels/panel/panel.h"

namespace vernier::container_vernier {
namespace {

// An object whose keys are exactly `keys`, and perhaps some of `optional`.
Status check_keys(const Json& object, std::vector<std::string> keys, const std::string& where,
                  const std::vector<std::string>& optional = {}) {
  if (!object.is_object()) return fail(ErrorCode::invalid, "{}: wanted an object, found {}", where, object.type_name());
  for (const std::string& key : keys)
    if (!object.contains(key)) return fail(ErrorCode::invalid, "{}: no key \"{}\"", where, key);
  keys.insert(keys.end(), optional.begin(), optional.end());
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    const std::string near = nearest(key, keys);
    Error error = fail(ErrorCode::invalid, "{}: unknown key \"{}\"", where, key);
    return near.empty() ? error : with_hint(std::move(error), fmt::format("did you mean \"{}\"?", near));
  }
  return {};
}

Result<int> read_bits(const ConfigReader& reader) {
  VN_ASSIGN(const std::int64_t bits, reader.integer("bits"));
  if (bits < 1 || bits > 16) return fail(ErrorCode::invalid, "{}: bits {}, wanted 1 to 16", reader.where(), bits);
  return static_cast<int>(bits);
}

Result<std::int64_t> read_integer(const Json& value, std::int64_t least, const std::string& where) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < least || value.get<std::int64_t>() > INT32_MAX)
    return fail(ErrorCode::invalid, "{}: wanted an integer from {} to {}, found {}", where, least, INT32_MAX,
                dump_json(value, -1));
  return value.get<std::int64_t>();
}

Result<ActivationSpec> parse_activation(const Json& json, const std::string& where) {
  VN_TRY(check_keys(json, {"bits", "symmetric", "dynamic", "per_token", "full_range"}, where, {"floating", "group"}));
  const ConfigReader reader(json, where);
  ActivationSpec activation;
  VN_ASSIGN(activation.bits, read_bits(reader));
  VN_ASSIGN(activation.symmetric, reader.boolean("symmetric", true));
  VN_ASSIGN(activation.dynamic, reader.boolean("dynamic", true));
  VN_ASSIGN(activation.per_token, reader.boolean("per_token", true));
  VN_ASSIGN(activation.full_range, reader.boolean("full_range", false));
  VN_ASSIGN(activation.floating, reader.boolean("floating", false));
  if (json.contains("group")) {
    VN_ASSIGN(const std::int64_t group, read_integer(json["group"], 1, where + ".group"));
    activation.group = static_cast<int>(group);
  }
  if (activation.floating && (activation.bits != 8 || !activation.symmetric || activation.full_range))
    return fail(ErrorCode::invalid, "{}: floating wants bits 8, symmetric and not full_range", where);
  return activation;
}

Result<WeightPlan> parse_weight(const std::string& name, const Json& json, const std::string& where) {
  VN_TRY(check_keys(json,
                    {"shape", "format", "bits", "symmetric", "group", "scale_dtype", "column_groups", "activation"},
                    where, {"group_rows"}));
  const ConfigReader reader(json, where);
  WeightPlan weight;
  weight.name = name;
  const Json& shape = json["shape"];
  if (!shape.is_array() || shape.size() != 2) return fail(ErrorCode::invalid, "{}.shape: wanted [rows, cols]", where);
  VN_ASSIGN(const std::int64_t rows, read_integer(shape[0], 1, where + ".shape"));
  VN_ASSIGN(const std::int64_t cols, read_integer(shape[1], 1, where + ".shape"));
  weight.shape = Shape{rows, cols};
  GridSpec grid;
  VN_ASSIGN(grid.format, reader.string("format", ""));
  VN_ASSIGN(grid.bits, read_bits(reader));
  VN_ASSIGN(grid.symmetric, reader.boolean("symmetric", true));
  VN_ASSIGN(grid.group, read_integer(json["group"], -1, where + ".group"));
  if (json.contains("group_rows")) {
    VN_ASSIGN(grid.group_rows, read_integer(json["group_rows"], 1, where + ".group_rows"));
  }
  VN_ASSIGN(const std::string dtype, reader.string("scale_dtype", ""));
  const std::optional<DType> scale_dtype = dtype_from_name(dtype);
  if (!scale_dtype) return fail(ErrorCode::invalid, "{}.scale_dtype: unknown element type \"{}\"", where, dtype);
  grid.scale_dtype = *scale_dtype;
  if (const auto made = make_grid(grid); !made.ok())
    return fail(made.error().code, "{}: {}", where, made.error().message);
  weight.grid = grid;
  VN_ASSIGN(weight.column_groups, reader.boolean("column_groups", false));
  if (const Json* activation = reader.find("activation")) {
    VN_ASSIGN(weight.activation, parse_activation(*activation, where + ".activation"));
  }
  return weight;
}

}  // namespace

Json describe(const OutputPlan& plan) {
  Json weights = Json::object();
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    const GridSpec& grid = *weight.grid;
    Json entry{
        {"shape", weight.shape.dims()},          {"format", grid.format}, {"bits", grid.bits},
        {"symmetric", grid.symmetric},           {"group", grid.group},   {"scale_dtype", name(grid.scale_dtype)},
        {"column_groups", weight.column_groups}, {"activation", nullptr}};
    if (grid.group_rows != 1) entry["group_rows"] = grid.group_rows;
    if (weight.activation)
      entry["activation"] = Json{{"bits", weight.activation->bits},
                                 {"symmetric", weight.activation->symmetric},
                                 {"dynamic", weight.activation->dynamic},
                                 {"per_token", weight.activation->per_token},
                                 {"full_range", weight.activation->full_range}};
    if (weight.activation && weight.activation->group > 0) entry["activation"]["group"] = weight.activation->group;
    if (weight.activation && weight.activation->floating) entry["activation"]["floating"] = true;
    weights[weight.name] = std::move(entry);
  }
  return Json{{"quant_method", "vernier"},
              {"version", kVersion},
              {"panel_layout", kernels::kPanelLayoutVersion},
              {"weights", weights},
              {"recipe", plan.recipe_yaml}};
}

Result<Description> parse_description(const Json& config, const std::string& where) {
  const std::string inside = where + ": quantization_config";
  const Json& json = config.at("quantization_config");
  const auto version = json.find("version");
  if (version == json.end() || !version->is_number_integer() || *version != kVersion)
    return with_hint(fail(ErrorCode::unsupported, "{}: version {}, this program reads version {}", inside,
                          version == json.end() ? "is missing" : dump_json(*version, -1), kVersion),
                     "a newer release wrote it; use that release");
  VN_TRY(check_keys(json, {"quant_method", "version", "panel_layout", "weights", "recipe"}, inside));
  if (!json["panel_layout"].is_number_integer() || json["panel_layout"] != kernels::kPanelLayoutVersion)
    return with_hint(fail(ErrorCode::unsupported, "{}: panel_layout {}, this program reads layout {}", inside,
                          dump_json(json["panel_layout"], -1), kernels::kPanelLayoutVersion),
                     "repack it from the model it was made from: vernier pack");
  if (!json["weights"].is_object()) return fail(ErrorCode::invalid, "{}.weights: wanted an object", inside);
  Description description;
  for (const auto& [name, value] : json["weights"].items()) {
    VN_ASSIGN(WeightPlan weight, parse_weight(name, value, inside + ".weights." + name));
    description.weights.push_back(std::move(weight));
  }
  return description;
}

}  // namespace vernier::container_vernier
