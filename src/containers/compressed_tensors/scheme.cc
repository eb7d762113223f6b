#include "containers/compressed_tensors/scheme.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <memory>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/log.h"
#include "formats/minifloat/grid.h"

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

// Whether one of the "re:" patterns among `targets` matches.
Result<bool> matches_any(const std::vector<std::string>& targets, const std::string& module, const std::string& where) {
  for (const std::string& target : targets) {
    if (!target.starts_with(kPattern)) continue;
    VN_ASSIGN(const bool found, matches(target.substr(kPattern.size()), module, where));
    if (found) return true;
  }
  return false;
}

bool present(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

struct Args {
  int bits = 8;
  bool floating = false, symmetric = true, dynamic = false;
  bool local = false;  // dynamic "local": scales of groups at run time
  std::string strategy;
  std::int64_t group_size = 0;
  std::int64_t block_rows = 1, block_cols = 0;
};

Status read_block(const ConfigReader& reader, Args& args, const std::string& where) {
  const Json* block = reader.find("block_structure");
  const auto side = [](const Json& json) { return json.is_number_integer() && json > 0 && json <= INT32_MAX; };
  if (!block || !block->is_array() || block->size() != 2 || !side((*block)[0]) || !side((*block)[1]))
    return fail(ErrorCode::invalid, "{}: strategy \"block\" wants a block_structure [rows, columns], found {}", where,
                block ? dump_json(*block, -1) : "none");
  args.block_rows = (*block)[0].get<std::int64_t>();
  args.block_cols = (*block)[1].get<std::int64_t>();
  return {};
}

Result<Args> parse_args(const Json& json, const std::string& where) {
  if (!json.is_object()) return fail(ErrorCode::invalid, "{}: wanted an object, found {}", where, json.type_name());
  const ConfigReader reader(json, where);
  VN_ASSIGN(const std::int64_t bits, reader.integer("num_bits", 8));
  VN_ASSIGN(const std::string type, reader.string("type", "int"));
  if (type != "int" && type != "float")
    return fail(ErrorCode::unsupported, "{}: type \"{}\" is not read here, wanted \"int\" or \"float\"", where, type);
  Args args;
  args.floating = type == "float";
  if (bits < 2 || bits > 8 || (args.floating && bits != 4 && bits != 8))
    return fail(ErrorCode::unsupported, "{}: num_bits {} is not read here, wanted {}", where, bits,
                args.floating ? "4 or 8 for floats" : "2 to 8");
  args.bits = static_cast<int>(bits);
  VN_ASSIGN(args.symmetric, reader.boolean("symmetric", true));
  if (args.floating && !args.symmetric)
    return fail(ErrorCode::unsupported, "{}: floats with a zero point are not read here", where);
  if (const Json* dynamic = reader.find("dynamic")) {
    args.local = *dynamic == "local";
    if (!dynamic->is_boolean() && !args.local)
      return fail(ErrorCode::unsupported, "{}: dynamic {} is not read here, wanted true, false or \"local\"", where,
                  dump_json(*dynamic, -1));
    args.dynamic = args.local || dynamic->get<bool>();
  }
  std::int64_t group_size = 0;  // 0: absent; -1: the whole row
  if (const Json* size = reader.find("group_size")) {
    if (!size->is_number_integer() || *size < -1 || *size > INT32_MAX || (group_size = size->get<std::int64_t>()) == 0)
      return fail(ErrorCode::invalid, "{}: group_size {}, wanted a positive integer, -1 or null", where,
                  dump_json(*size, -1));
  }
  VN_ASSIGN(args.strategy, reader.string("strategy", group_size > 0     ? "group"
                                                     : group_size == -1 ? "channel"
                                                                        : "tensor"));
  if ((args.strategy == "group" || args.strategy == "tensor_group") && group_size <= 0)
    return fail(ErrorCode::invalid, "{}: strategy \"{}\" wants a positive group_size", where, args.strategy);
  if (args.strategy == "block") VN_TRY(read_block(reader, args, where));
  args.group_size = group_size;
  return args;
}

Result<GridSpec> grid_of(const Args& args, const std::string& where) {
  const bool grouped = args.strategy == "group" || args.strategy == "tensor_group";
  if (args.floating && args.bits == 4) {
    if (args.strategy == "tensor_group" && args.group_size == 16) return nvfp4_spec();
    if (grouped && args.group_size == 32) return *find_format("mxfp4").value()->fixed;
    return fail(ErrorCode::unsupported,
                "{}: 4-bit floats under strategy \"{}\" and group_size {} are not read here, wanted tensor_group of 16 "
                "(NVFP4) or group of 32 (MXFP4)",
                where, args.strategy, args.group_size);
  }
  GridSpec grid{.format = args.floating ? "fp8" : "int", .bits = args.bits, .symmetric = args.symmetric};
  if (args.strategy == "group")
    grid.group = args.group_size;
  else if (args.strategy == "channel" || args.strategy == "tensor")
    grid.group = args.strategy == "channel" ? 0 : -1;
  else if (args.strategy == "block" && args.floating)
    grid.group = args.block_cols, grid.group_rows = args.block_rows;
  else
    return fail(ErrorCode::unsupported,
                "{}: strategy \"{}\" of {} is not read here, wanted tensor, channel, group, or block of floats", where,
                args.strategy, args.floating ? "floats" : "integers");
  return grid;
}

// A quantizer on inputs; none where it has no counterpart here.
Result<std::optional<ActivationSpec>> activation_of(const Args& inputs, const std::string& where) {
  const bool grouped = inputs.strategy == "group" && inputs.dynamic;
  if (inputs.local || inputs.strategy == "tensor_group" || (inputs.strategy == "group" && !grouped) ||
      (inputs.floating && inputs.bits != 8)) {
    log_warn("{}: {}{}-bit inputs under strategy \"{}\" are not computed here: inputs stay in floats", where,
             inputs.local ? "locally scaled " : "", inputs.bits, inputs.strategy);
    return std::optional<ActivationSpec>();
  }
  if (inputs.strategy != "tensor" && !grouped && !(inputs.strategy == "token" && inputs.dynamic))
    return fail(ErrorCode::unsupported,
                "{}: {} strategy \"{}\" is not read here, wanted dynamic token or group, or tensor", where,
                inputs.dynamic ? "dynamic" : "static", inputs.strategy);
  // compressed-tensors takes symmetric scales of 2 absmax / (2^b - 1) and clamps to -2^(b-1).
  return std::optional(ActivationSpec{.bits = inputs.bits,
                                      .symmetric = inputs.symmetric,
                                      .dynamic = inputs.dynamic,
                                      .per_token = inputs.strategy != "tensor",
                                      .group = grouped ? static_cast<int>(inputs.group_size) : 0,
                                      .full_range = inputs.symmetric && !inputs.floating,
                                      .floating = inputs.floating});
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
  VN_ASSIGN(group.grid, grid_of(weights, where + ".weights"));
  if (present(json, "input_activations")) {
    VN_ASSIGN(const Args inputs, parse_args(json["input_activations"], where + ".input_activations"));
    VN_ASSIGN(group.activation, activation_of(inputs, where + ".input_activations"));
  }
  return group;
}

Status refuse_unknown_storage(const Json& quantization, const std::string& where) {
  const ConfigReader reader(quantization, where);
  VN_ASSIGN(const std::string format, reader.string("format", ""));
  static constexpr std::array<std::string_view, 8> kFormats = {
      "pack-quantized",       "int-quantized",        "float-quantized", "naive-quantized",
      "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision"};
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
  return {};
}

// Bits of the scheme of keys and values; 0 where there is none. Its scales are not needed: the cache here has one of
// its own for each head and token.
Result<int> kv_bits_of(const Json& quantization, const std::string& where) {
  const Json* scheme = ConfigReader(quantization, where).find("kv_cache_scheme");
  if (!scheme) return 0;
  VN_ASSIGN(const Args args, parse_args(*scheme, where + ".kv_cache_scheme"));
  return args.bits;
}

}  // namespace

Result<const Group*> Scheme::find_group(const std::string& module, bool linear) const {
  for (const Group& group : groups)
    if (std::find(group.targets.begin(), group.targets.end(), module) != group.targets.end()) return &group;
  for (const Group& group : groups) {
    VN_ASSIGN(const bool found, matches_any(group.targets, module, group.where));
    if (found) return &group;
  }
  for (const Group& group : groups)
    if (linear && std::find(group.targets.begin(), group.targets.end(), "Linear") != group.targets.end()) return &group;
  return static_cast<const Group*>(nullptr);
}

Result<const Group*> Scheme::group_of(const std::string& module) const {
  VN_ASSIGN(const Group* group, find_group(module, true));
  if (group) return group;
  std::string tried;
  for (const Group& g : groups) tried += fmt::format("{}{}", tried.empty() ? "" : "; ", g.where);
  return fail(ErrorCode::mismatch, "module {} is stored quantized, but no target matches it in {}", module, tried);
}

Result<bool> Scheme::ignores(const std::string& module) const {
  if (std::find(ignore.begin(), ignore.end(), module) != ignore.end()) return true;
  return matches_any(ignore, module, where);
}

Result<Scheme> parse_scheme(const Json& config, const std::string& where) {
  const Json& quantization = config.at("quantization_config");
  const std::string inside = where + ": quantization_config";
  VN_TRY(refuse_unknown_storage(quantization, inside));
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object() || groups->empty())
    return fail(ErrorCode::invalid, "{}: wanted at least one group under \"config_groups\"", inside);
  Scheme scheme;
  scheme.where = inside;
  VN_ASSIGN(scheme.kv_bits, kv_bits_of(quantization, inside));
  if (const auto ignore = quantization.find("ignore"); ignore != quantization.end() && !ignore->is_null()) {
    if (!ignore->is_array()) return fail(ErrorCode::invalid, "{}.ignore: wanted a list", inside);
    for (const Json& name : *ignore) {
      if (!name.is_string()) return fail(ErrorCode::invalid, "{}.ignore: wanted strings", inside);
      scheme.ignore.push_back(name.get<std::string>());
    }
  }
  for (const auto& [key, value] : groups->items()) {
    VN_ASSIGN(Group group, parse_group(value, inside + ".config_groups." + key));
    scheme.groups.push_back(std::move(group));
  }
  return scheme;
}

namespace {

Json args_of(int bits, bool floating, bool symmetric, const char* strategy, bool dynamic) {
  Json args;
  args["num_bits"] = bits;
  args["type"] = floating ? "float" : "int";
  args["symmetric"] = symmetric;
  args["strategy"] = strategy;
  args["group_size"] = nullptr;
  args["block_structure"] = nullptr;
  args["dynamic"] = dynamic;
  args["actorder"] = nullptr;
  args["observer"] = dynamic ? Json(nullptr) : Json("minmax");
  args["observer_kwargs"] = Json::object();
  return args;
}

}  // namespace

Json weight_args(const GridSpec& grid) {
  const char* const strategy = grid.format == "nvfp4" ? "tensor_group"
                               : grid.group_rows > 1  ? "block"
                               : grid.group > 0       ? "group"
                               : grid.group == 0      ? "channel"
                                                      : "tensor";
  Json args = args_of(grid.bits, grid.format != "int", grid.symmetric, strategy, false);
  if (grid.group_rows > 1)
    args["block_structure"] = {grid.group_rows, grid.group};
  else if (grid.group > 0)
    args["group_size"] = grid.group;
  if (grid.format == "nvfp4") args["scale_dtype"] = args["zp_dtype"] = "torch.float8_e4m3fn";
  if (grid.format == "mxfp4") args["scale_dtype"] = args["zp_dtype"] = "torch.uint8";
  return args;
}

Json activation_args(const ActivationSpec& activation) {
  const char* const strategy = !activation.dynamic || !activation.per_token ? "tensor"
                               : activation.group > 0                       ? "group"
                                                                            : "token";
  Json args = args_of(activation.bits, activation.floating, activation.symmetric, strategy, activation.dynamic);
  if (activation.group > 0) args["group_size"] = activation.group;
  return args;
}

}  // namespace vernier::compressed_tensors
