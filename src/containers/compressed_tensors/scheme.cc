#include "containers/compressed_tensors/scheme.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <memory>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/log.h"

namespace vernier::compressed_tensors {
namespace {

constexpr std::string_view kPattern = "re:";

// Whether `pattern` matches a prefix of `name`, as Python's re.match does.
Result<bool> matches(const std::string& pattern, const std::string& name, const std::string& where) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> compiled(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_ANCHORED, &code, &offset,
                    nullptr),
      &pcre2_code_free);
  if (!compiled)
    return fail(ErrorCode::invalid, "{}: target pattern \"{}\" is malformed at character {}", where, pattern, offset);
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(compiled.get(), nullptr), &pcre2_match_data_free);
  const int found =
      pcre2_match(compiled.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, match.get(), nullptr);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH)
    return fail(ErrorCode::invalid, "{}: target pattern \"{}\" gives up on {} (PCRE2 error {})", where, pattern, name,
                found);
  return found >= 0;
}

bool present(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

struct Args {
  int bits = 8;
  bool symmetric = true, dynamic = false;
  std::string strategy;
  std::int64_t group_size = 0;
};

Result<Args> parse_args(const Json& json, const std::string& where) {
  if (!json.is_object()) return fail(ErrorCode::invalid, "{}: wanted an object, found {}", where, json.type_name());
  const ConfigReader reader(json, where);
  VN_ASSIGN(const std::int64_t bits, reader.integer("num_bits", 8));
  VN_ASSIGN(const std::string type, reader.string("type", "int"));
  if (type != "int")
    return fail(ErrorCode::unsupported, "{}: type \"{}\" is not read here, wanted \"int\"", where, type);
  if (bits < 2 || bits > 8)
    return fail(ErrorCode::unsupported, "{}: num_bits {} is not read here, wanted 2 to 8", where, bits);
  Args args;
  args.bits = static_cast<int>(bits);
  VN_ASSIGN(args.symmetric, reader.boolean("symmetric", true));
  if (const Json* dynamic = reader.find("dynamic")) {
    if (!dynamic->is_boolean())
      return fail(ErrorCode::unsupported, "{}: dynamic {} is not read here, wanted true or false", where,
                  dump_json(*dynamic, -1));
    args.dynamic = dynamic->get<bool>();
  }
  std::int64_t group_size = 0;  // 0: absent; -1: the whole row
  if (const Json* size = reader.find("group_size")) {
    if (!size->is_number_integer() || (group_size = size->get<std::int64_t>()) < -1 || group_size == 0)
      return fail(ErrorCode::invalid, "{}: group_size {}, wanted a positive integer, -1 or null", where,
                  dump_json(*size, -1));
  }
  VN_ASSIGN(args.strategy, reader.string("strategy", group_size > 0     ? "group"
                                                     : group_size == -1 ? "channel"
                                                                        : "tensor"));
  if (args.strategy == "group" && group_size <= 0)
    return fail(ErrorCode::invalid, "{}: strategy \"group\" wants a positive group_size", where);
  args.group_size = group_size;
  return args;
}

Result<Group> parse_group(const Json& json, const std::string& where) {
  if (!json.is_object())
    return with_hint(fail(ErrorCode::unsupported, "{}: wanted an object with targets and weights, found {}", where,
                          json.type_name()),
                     "presets by name are not read; write the group out");
  Group group;
  group.where = where;
  const auto targets = json.find("targets");
  if (targets == json.end() || !targets->is_array())
    return fail(ErrorCode::invalid, "{}: wanted a list under \"targets\"", where);
  for (const Json& target : *targets) {
    if (!target.is_string()) return fail(ErrorCode::invalid, "{}.targets: wanted strings", where);
    group.targets.push_back(target.get<std::string>());
  }
  if (present(json, "output_activations"))
    return fail(ErrorCode::unsupported, "{}: output_activations are not supported", where);

  if (!present(json, "weights"))
    return fail(ErrorCode::unsupported, "{}: a group without quantized weights is not supported", where);
  VN_ASSIGN(const Args weights, parse_args(json["weights"], where + ".weights"));
  group.bits = weights.bits;
  group.symmetric = weights.symmetric;
  if (weights.strategy == "group")
    group.group_size = weights.group_size;
  else if (weights.strategy == "channel" || weights.strategy == "tensor")
    group.group_size = weights.strategy == "channel" ? 0 : -1;
  else
    return fail(ErrorCode::unsupported, "{}.weights: strategy \"{}\" is not read here, wanted tensor, channel or group",
                where, weights.strategy);

  if (present(json, "input_activations")) {
    VN_ASSIGN(const Args inputs, parse_args(json["input_activations"], where + ".input_activations"));
    if (inputs.strategy != "tensor" && !(inputs.strategy == "token" && inputs.dynamic))
      return fail(ErrorCode::unsupported,
                  "{}.input_activations: {} strategy \"{}\" is not read here, wanted dynamic token, dynamic tensor or "
                  "static tensor",
                  where, inputs.dynamic ? "dynamic" : "static", inputs.strategy);
    // compressed-tensors takes symmetric scales of 2 absmax / (2^b - 1) and clamps to -2^(b-1).
    group.activation = ActivationSpec{.bits = inputs.bits,
                                      .symmetric = inputs.symmetric,
                                      .dynamic = inputs.dynamic,
                                      .per_token = inputs.strategy == "token",
                                      .full_range = inputs.symmetric};
  }
  return group;
}

Status refuse_unknown_storage(const Json& quantization, const std::string& where) {
  const ConfigReader reader(quantization, where);
  VN_ASSIGN(const std::string format, reader.string("format", ""));
  static constexpr std::array<std::string_view, 4> kFormats = {"pack-quantized", "int-quantized", "naive-quantized",
                                                               "mixed-precision"};
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end())
    return fail(ErrorCode::unsupported, "{}: format \"{}\" is not read here; known are {}", where, format,
                fmt::join(kFormats, ", "));
  if (const Json* sparsity = reader.find("sparsity_config"); sparsity && sparsity->is_object()) {
    VN_ASSIGN(const std::string sparse, ConfigReader(*sparsity, where + ".sparsity_config").string("format", "dense"));
    if (sparse != "dense")
      return fail(ErrorCode::unsupported, "{}.sparsity_config: format \"{}\" is not read here", where, sparse);
  }
  if (const Json* transform = reader.find("transform_config"); transform && !transform->empty())
    return fail(ErrorCode::unsupported, "{}.transform_config: online transforms are not supported", where);
  if (reader.find("kv_cache_scheme"))
    log_warn("{}.kv_cache_scheme is ignored: keys and values are cached in floats", where);
  return {};
}

}  // namespace

Result<const Group*> Scheme::group_of(const std::string& module) const {
  for (const Group& group : groups)
    if (std::find(group.targets.begin(), group.targets.end(), module) != group.targets.end()) return &group;
  for (const Group& group : groups)
    for (const std::string& target : group.targets)
      if (target.starts_with(kPattern)) {
        VN_ASSIGN(const bool found, matches(target.substr(kPattern.size()), module, group.where));
        if (found) return &group;
      }
  for (const Group& group : groups)
    if (std::find(group.targets.begin(), group.targets.end(), "Linear") != group.targets.end()) return &group;
  std::string tried;
  for (const Group& group : groups) tried += fmt::format("{}{}", tried.empty() ? "" : "; ", group.where);
  return fail(ErrorCode::mismatch, "module {} is stored quantized, but no target matches it in {}", module, tried);
}

Result<Scheme> parse_scheme(const Json& config, const std::string& where) {
  const Json& quantization = config.at("quantization_config");
  const std::string inside = where + ": quantization_config";
  VN_TRY(refuse_unknown_storage(quantization, inside));
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object() || groups->empty())
    return fail(ErrorCode::invalid, "{}: wanted at least one group under \"config_groups\"", inside);
  Scheme scheme;
  for (const auto& [key, value] : groups->items()) {
    VN_ASSIGN(Group group, parse_group(value, inside + ".config_groups." + key));
    scheme.groups.push_back(std::move(group));
  }
  return scheme;
}

Json weight_args(const GridSpec& grid) {
  Json args;
  args["num_bits"] = grid.bits;
  args["type"] = "int";
  args["symmetric"] = grid.symmetric;
  args["strategy"] = grid.group > 0 ? "group" : grid.group == 0 ? "channel" : "tensor";
  args["group_size"] = grid.group > 0 ? Json(grid.group) : Json(nullptr);
  args["block_structure"] = nullptr;
  args["dynamic"] = false;
  args["actorder"] = nullptr;
  args["observer"] = "minmax";
  args["observer_kwargs"] = Json::object();
  return args;
}

Json activation_args(const ActivationSpec& activation) {
  Json args;
  args["num_bits"] = activation.bits;
  args["type"] = "int";
  args["symmetric"] = activation.symmetric;
  args["strategy"] = activation.dynamic && activation.per_token ? "token" : "tensor";
  args["group_size"] = nullptr;
  args["block_structure"] = nullptr;
  args["dynamic"] = activation.dynamic;
  args["actorder"] = nullptr;
  args["observer"] = activation.dynamic ? Json(nullptr) : Json("minmax");
  args["observer_kwargs"] = Json::object();
  return args;
}

}  // namespace vernier::compressed_tensors
