// GPTQ checkpoints. Symmetric weights are written in version 1, where zero points are stored less one, which every
// loader knows; asymmetric ones in version 2, as a zero point of 0 has no place in version 1.
#include "containers/container.h"
#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/transposed/transposed.h"

namespace vernier {
namespace {

using transposed::Words;

constexpr const char* kName = "gptq";

bool known_width(std::int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

Status accepts(const OutputPlan& plan) {
  VN_TRY(transposed::one_grid(kName, plan));
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    VN_TRY(transposed::accepts(kName, weight, Words::strings));
    if (!known_width(weight.grid->bits))
      return with_hint(fail(ErrorCode::unsupported, "container gptq cannot hold {} as {}: wanted 2, 3, 4 or 8 bits",
                            weight.name, weight.grid->text()),
                       "--container compressed-tensors holds 2 to 8 bits");
  }
  return {};
}

std::vector<TensorEntry> layout(const WeightPlan& weight) { return transposed::layout(weight, Words::strings); }

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  return transposed::encode(plan, part, Words::strings, /*zeros_less_one=*/plan.grid->symmetric);
}

Result<Json> config(const OutputPlan& plan) {
  VN_ASSIGN(const GridSpec grid, transposed::one_grid(kName, plan));
  bool reordered = false;
  for (const WeightPlan& weight : plan.weights) reordered = reordered || (weight.grid && weight.column_groups);
  Json quantization;
  quantization["quant_method"] = kName;
  quantization["bits"] = grid.bits;
  quantization["group_size"] = grid.group > 0 ? grid.group : -1;
  quantization["desc_act"] = reordered;
  quantization["sym"] = grid.symmetric;
  quantization["lm_head"] = false;
  quantization["checkpoint_format"] = grid.symmetric ? "gptq" : "gptq_v2";
  quantization["pack_dtype"] = "int32";
  // Linears of blocks that stay in high precision: a rule that starts with "-:" takes a module out.
  Json exceptions = Json::object();
  for (const std::string& module : plan.ignored)
    if (module != "lm_head") exceptions["-:^" + module + "$"] = Json::object();
  if (!exceptions.empty()) quantization["dynamic"] = std::move(exceptions);
  Json config = plan.config();
  config["quantization_config"] = std::move(quantization);
  return config;
}

bool recognizes(const Json& config) { return quant_method(config) == kName; }

Result<transposed::Scheme> parse(const Json& config, const std::string& where) {
  const ConfigReader reader(config, where);
  transposed::Scheme scheme{.words = Words::strings, .where = where};
  VN_ASSIGN(const std::int64_t bits, reader.integer("bits"));
  if (!known_width(bits)) return reader.refuse("bits", "2, 3, 4 or 8");
  scheme.bits = static_cast<int>(bits);
  const Json* const group = reader.find("group_size");
  if (!group || !group->is_number_integer() || *group < -1 || *group == 0 || *group > (1 << 20))
    return reader.refuse("group_size", "a positive integer, or -1");
  scheme.group = *group == -1 ? 0 : group->get<std::int64_t>();
  VN_ASSIGN(scheme.symmetric, reader.boolean("sym", true));
  VN_ASSIGN(const std::string version, reader.string("checkpoint_format", "gptq"));
  if (version != "gptq" && version != "gptq_v2") return reader.refuse("checkpoint_format", "gptq or gptq_v2");
  scheme.zeros_less_one = version == "gptq";
  if (const Json* dynamic = reader.find("dynamic")) {
    if (!dynamic->is_object()) return reader.refuse("dynamic", "an object");
    for (const auto& [rule, overrides] : dynamic->items())
      if (!rule.starts_with("-:")) return reader.refuse("dynamic", "rules that take modules out (\"-:...\") only");
  }
  return scheme;
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(const transposed::Scheme scheme, parse(checkpoint->config()["quantization_config"],
                                                   checkpoint->folder() + "/config.json: quantization_config"));
  return transposed::open(std::move(checkpoint), scheme, kName);
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_gptq;
const ContainerDescriptor container_gptq{.name = kName,
                                         .summary = "GPTQ checkpoints: integers of 2, 3, 4 or 8 bits, versions 1 and 2",
                                         .accepts = accepts,
                                         .layout = layout,
                                         .encode = encode,
                                         .config = config,
                                         .recognizes = recognizes,
                                         .open = open};
}  // namespace units

}  // namespace vernier
