// AWQ checkpoints, version "gemm": asymmetric 4-bit integers in groups.
#include "containers/container.h"
#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/transposed/transposed.h"

namespace vernier {
namespace {

using transposed::Words;

constexpr const char* kName = "awq";
constexpr int kBits = 4;

Status accepts(const OutputPlan& plan) {
  VN_TRY(transposed::one_grid(kName, plan));
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    VN_TRY(transposed::accepts(kName, weight, Words::nibbles));
    const GridSpec& grid = *weight.grid;
    if (grid.bits != kBits || grid.symmetric || grid.group <= 0)
      return with_hint(
          fail(ErrorCode::unsupported, "container awq cannot hold {} as {}: wanted asymmetric 4 bits in groups",
               weight.name, grid.text()),
          "--set weights.bits=4 weights.symmetric=false weights.group=128, or --container gptq");
    if (weight.column_groups)
      return with_hint(
          fail(ErrorCode::unsupported, "container awq cannot hold {}: groups follow the columns' order", weight.name),
          "--container gptq stores the group of each column");
  }
  return {};
}

std::vector<TensorEntry> layout(const WeightPlan& weight) { return transposed::layout(weight, Words::nibbles); }

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  return transposed::encode(plan, part, Words::nibbles, /*zeros_less_one=*/false);
}

Result<Json> config(const OutputPlan& plan) {
  VN_ASSIGN(const GridSpec grid, transposed::one_grid(kName, plan));
  Json quantization;
  quantization["quant_method"] = kName;
  quantization["bits"] = grid.bits;
  quantization["group_size"] = grid.group;
  quantization["zero_point"] = true;
  quantization["version"] = "gemm";
  quantization["modules_to_not_convert"] = plan.ignored;
  Json config = plan.config();
  config["quantization_config"] = std::move(quantization);
  return config;
}

bool recognizes(const Json& config) { return quant_method(config) == kName; }

Result<transposed::Scheme> parse(const Json& config, const std::string& where) {
  const ConfigReader reader(config, where);
  transposed::Scheme scheme{.words = Words::nibbles, .bits = kBits, .symmetric = false, .where = where};
  VN_ASSIGN(const std::int64_t bits, reader.integer("bits"));
  if (bits != kBits) return reader.refuse("bits", "4");
  VN_ASSIGN(scheme.group, reader.size("group_size", 1 << 20));
  VN_ASSIGN(const std::string version, reader.string("version", "gemm"));
  if (version != "gemm" && version != "GEMM") return reader.refuse("version", "gemm");
  VN_ASSIGN(const bool zero_point, reader.boolean("zero_point", true));
  if (!zero_point) return reader.refuse("zero_point", "true");
  return scheme;
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(const transposed::Scheme scheme, parse(checkpoint->config()["quantization_config"],
                                                   checkpoint->folder() + "/config.json: quantization_config"));
  return transposed::open(std::move(checkpoint), scheme, kName);
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_awq;
const ContainerDescriptor container_awq{.name = kName,
                                        .summary = "AWQ checkpoints (gemm): asymmetric 4-bit integers in groups",
                                        .accepts = accepts,
                                        .layout = layout,
                                        .encode = encode,
                                        .config = config,
                                        .recognizes = recognizes,
                                        .open = open};
}  // namespace units

}  // namespace vernier
