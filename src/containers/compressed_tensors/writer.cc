#include <algorithm>

#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/compressed_tensors/compressed_tensors.h"
#include "containers/compressed_tensors/scheme.h"
#include "containers/compressed_tensors/storage.h"

namespace vernier::compressed_tensors {
namespace {

// Scales are converted to the model's element type on load, so one of another 16-bit type would be rounded again.
std::optional<DType> model_dtype(const Json& config) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto value = config.find(key);
    if (value == config.end() || !value->is_string()) continue;
    if (*value == "float16") return DType::f16;
    if (*value == "bfloat16") return DType::bf16;
  }
  return std::nullopt;
}

bool is_embedding(const ModelGraph& graph, const std::string& weight) {
  for (const Op& op : graph.embed.ops)
    if (op.kind != OpKind::linear && op.weight >= 0 && graph.embed.tensors[op.weight].name == weight) return true;
  return false;
}

Error refuse(const WeightPlan& weight, const std::string& reason) {
  return with_hint(fail(ErrorCode::unsupported, "container compressed-tensors cannot hold {} as {}: {}", weight.name,
                        weight.grid->text(), reason),
                   "--container vernier holds anything");
}

Status accepts_activation(const WeightPlan& weight) {
  const GridSpec& grid = *weight.grid;
  const ActivationSpec& activation = *weight.activation;
  if (activation.floating ? grid.format != "fp8" : grid.format != "int")
    return refuse(weight, "with quantized inputs, weights and inputs are both integers or both floats");
  const bool blocks = grid.group_rows > 1 && activation.group == grid.group;
  if (activation.group > 0 && !blocks) return refuse(weight, "groups of inputs go with blocks of weights as wide");
  if (grid.bits != 8 || !grid.symmetric || (grid.group > 0 && !blocks))
    return refuse(weight, "with quantized inputs, weights are symmetric 8 bit per channel or tensor");
  if (activation.bits != 8) return refuse(weight, fmt::format("inputs of {} bits, wanted 8", activation.bits));
  if (activation.dynamic && !activation.per_token)
    return refuse(weight, "dynamic input scales are per token, not per tensor");
  return {};
}

Status accepts_grid(const WeightPlan& weight, std::optional<DType> dtype) {
  const GridSpec& grid = *weight.grid;
  if (grid.group > 0 && weight.shape[1] % grid.group != 0)
    return refuse(weight, fmt::format("{} columns are not a multiple of the group", weight.shape[1]));
  if (grid.format == "nvfp4" || grid.format == "mxfp4") return {};
  if (grid.format != "int" && grid.format != "fp8")
    return refuse(weight, "only the formats int, fp8, nvfp4 and mxfp4 are stored");
  if (grid.bits < 2 || grid.bits > 8) return refuse(weight, "only 2 to 8 bits are stored");
  if (grid.format == "fp8" && grid.group > 0 && grid.group_rows == 1)
    return refuse(weight, "loaders know scales of FP8 per tensor, channel or block (group_rows)");
  if (storage_of(weight) != Storage::bytes && dtype && *dtype != grid.scale_dtype)
    return refuse(weight, fmt::format("loaders would round its scales again, to the model's {}", name(*dtype)));
  return {};
}

Status accepts_weight(const WeightPlan& weight, std::optional<DType> dtype) {
  if (weight.shape.rank() != 2 || !weight.name.ends_with(kWeightSuffix))
    return refuse(weight,
                  fmt::format("shape {}; only weights of linear modules can be quantized", weight.shape.text()));
  if (weight.column_groups)
    return refuse(weight, "releases since 0.20 no longer load columns grouped in another order than they are stored");
  VN_TRY(accepts_grid(weight, dtype));
  return weight.activation ? accepts_activation(weight) : Status();
}

bool same_group(const WeightPlan& a, const WeightPlan& b) {
  GridSpec left = stored_grid(a), right = stored_grid(b);
  left.scale_dtype = right.scale_dtype;
  if (left != right || storage_of(a) != storage_of(b) || a.activation.has_value() != b.activation.has_value())
    return false;
  return !a.activation || activation_args(*a.activation) == activation_args(*b.activation);
}

}  // namespace

Status accepts(const OutputPlan& plan) {
  const Json& config = plan.config();
  const std::optional<DType> dtype = model_dtype(config);
  // Without a known architecture, every quantized matrix is taken for a linear module.
  const Result<ModelGraph> graph = build_model_graph(config, plan.checkpoint->folder() + "/config.json");
  bool any = false;
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    any = true;
    VN_TRY(accepts_weight(weight, dtype));
    if (graph.ok() && is_embedding(*graph, weight.name))
      return refuse(weight, graph->tied_head ? "it is the embedding, tied to the head" : "it is an embedding");
  }
  if (!any)
    return with_hint(fail(ErrorCode::unsupported, "container compressed-tensors: no weight of the plan is quantized"),
                     "--container safetensors holds float models");
  return {};
}

Result<Json> config(const OutputPlan& plan) {
  std::vector<std::vector<const WeightPlan*>> groups;
  for (const WeightPlan& weight : plan.weights) {
    if (!weight.grid) continue;
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return same_group(*g.front(), weight); });
    if (group == groups.end())
      groups.push_back({&weight});
    else
      group->push_back(&weight);
  }
  if (groups.empty()) return fail(ErrorCode::unsupported, "compressed-tensors: no weight of the plan is quantized");
  const bool mixed = std::any_of(groups.begin(), groups.end(), [&](const auto& g) {
    return storage_of(*g.front()) != storage_of(*groups.front().front());
  });

  Json quantization;
  quantization["quant_method"] = "compressed-tensors";
  quantization["format"] = mixed ? "mixed-precision" : format_name(storage_of(*groups.front().front()));
  quantization["quantization_status"] = "compressed";
  quantization["global_compression_ratio"] = nullptr;
  quantization["kv_cache_scheme"] = nullptr;
  Json& config_groups = quantization["config_groups"];
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const WeightPlan& first = *groups[i].front();
    Json group;
    // With one group the class says it all; otherwise modules are named, which no loader can misread.
    if (groups.size() == 1)
      group["targets"] = {"Linear"};
    else
      for (const WeightPlan* weight : groups[i]) group["targets"].push_back(module_of(*weight));
    group["weights"] = weight_args(stored_grid(first));
    group["input_activations"] = first.activation ? activation_args(*first.activation) : Json(nullptr);
    group["output_activations"] = nullptr;
    if (mixed) group["format"] = format_name(storage_of(first));
    config_groups[fmt::format("group_{}", i)] = std::move(group);
  }
  quantization["ignore"] = plan.ignored;

  Json config = plan.config();
  config["quantization_config"] = std::move(quantization);
  return config;
}

}  // namespace vernier::compressed_tensors
