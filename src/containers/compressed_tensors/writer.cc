#include <algorithm>
#include <array>
#include <cstring>

#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/compressed_tensors/compressed_tensors.h"
#include "containers/compressed_tensors/scheme.h"
#include "containers/compressed_tensors/words.h"
#include "formats/int/grid.h"
#include "formats/packing.h"
#include "tensor/convert.h"

namespace vernier::compressed_tensors {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string module_of(const WeightPlan& weight) { return weight.name.substr(0, weight.name.size() - kWeight.size()); }

// Weights with quantized inputs are stored as int-quantized, the others as pack-quantized.
bool is_packed(const WeightPlan& weight) { return !weight.activation; }

// Scales along a row. A packed per-tensor scale is repeated for every row: vLLM's weight-only kernels know channels and
// groups only, and the values are the same.
std::int64_t scale_rows(const WeightPlan& weight) {
  return weight.grid->group == -1 && !is_packed(weight) ? 1 : weight.shape[0];
}
std::int64_t groups_of(const WeightPlan& weight) {
  return weight.grid->group > 0 ? weight.shape[1] / weight.grid->group : 1;
}

// The grid under which the stored tensors decode.
GridSpec stored_grid(const WeightPlan& weight) {
  GridSpec grid = *weight.grid;
  if (is_packed(weight) && grid.group == -1) grid.group = 0;
  return grid;
}

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
  if (grid.bits != 8 || !grid.symmetric || grid.group > 0)
    return refuse(weight, "with quantized inputs, weights are symmetric 8 bit per channel or tensor");
  if (activation.bits != 8) return refuse(weight, fmt::format("inputs of {} bits, wanted 8", activation.bits));
  if (activation.dynamic && !activation.per_token)
    return refuse(weight, "dynamic input scales are per token, not per tensor");
  return {};
}

Status accepts_weight(const WeightPlan& weight, std::optional<DType> dtype) {
  const GridSpec& grid = *weight.grid;
  if (weight.shape.rank() != 2 || !weight.name.ends_with(kWeight))
    return refuse(weight,
                  fmt::format("shape {}; only weights of linear modules can be quantized", weight.shape.text()));
  if (grid.format != "int") return refuse(weight, "only the format int is stored");
  if (grid.bits < 2 || grid.bits > 8) return refuse(weight, "only 2 to 8 bits are stored");
  if (grid.group > 0 && weight.shape[1] % grid.group != 0)
    return refuse(weight, fmt::format("{} columns are not a multiple of the group", weight.shape[1]));
  if (weight.column_groups)
    return refuse(weight, "releases since 0.20 no longer load columns grouped in another order than they are stored");
  if (weight.activation) return accepts_activation(weight);
  if (dtype && *dtype != grid.scale_dtype)
    return refuse(weight, fmt::format("loaders would round its scales again, to the model's {}", name(*dtype)));
  return {};
}

bool same_group(const WeightPlan& a, const WeightPlan& b) {
  GridSpec left = stored_grid(a), right = stored_grid(b);
  left.scale_dtype = right.scale_dtype;
  if (left != right || a.activation.has_value() != b.activation.has_value()) return false;
  return !a.activation || activation_args(*a.activation) == activation_args(*b.activation);
}

std::string_view storage_format(const WeightPlan& weight) {
  return is_packed(weight) ? "pack-quantized" : "int-quantized";
}

// Parameters as they are stored: [scale_rows, groups].
struct StoredParams {
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros;
};

StoredParams stored_params(const WeightPlan& plan, const GridPart& part) {
  const std::int64_t rows = scale_rows(plan), groups = groups_of(plan);
  StoredParams params{std::vector<float>(rows * groups), std::vector<std::uint8_t>(rows * groups)};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::span<const float> found = part.params_of(r, g);
      params.scales[r * groups + g] = found[int_scale];
      params.zeros[r * groups + g] = static_cast<std::uint8_t>(found[int_zero]);
    }
  }
  return params;
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

std::vector<TensorEntry> layout(const WeightPlan& weight) {
  if (!weight.grid) return {{weight.name, weight.dtype, weight.shape}};
  const std::string module = module_of(weight);
  const GridSpec& grid = *weight.grid;
  const std::int64_t rows = weight.shape[0], cols = weight.shape[1], groups = groups_of(weight);
  std::vector<TensorEntry> entries;
  if (!is_packed(weight)) {
    entries.push_back({weight.name, DType::i8, weight.shape});
    entries.push_back({module + ".weight_scale", grid.scale_dtype, grid.group == -1 ? Shape{1} : Shape{rows, 1}});
    if (!weight.activation->dynamic) {
      entries.push_back({module + ".input_scale", DType::f32, Shape{1}});
      if (!weight.activation->symmetric) entries.push_back({module + ".input_zero_point", DType::i8, Shape{1}});
    }
    return entries;
  }
  entries.push_back(
      {module + ".weight_packed", DType::i32, Shape{rows, packed_words(cols, grid.bits, Packing::dense)}});
  entries.push_back({module + ".weight_scale", grid.scale_dtype, Shape{rows, groups}});
  if (!grid.symmetric)
    entries.push_back(
        {module + ".weight_zero_point", DType::i32, Shape{packed_words(rows, grid.bits, Packing::dense), groups}});
  entries.push_back({module + ".weight_shape", DType::i64, Shape{2}});
  return entries;
}

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  if (Shape{part.rows, part.cols} != plan.shape || part.grid->spec() != *plan.grid || !part.group_of_column.empty())
    return fail(ErrorCode::mismatch, "{}: planned as {} {}, solved as {} [{}, {}]{}", plan.name, plan.shape.text(),
                plan.grid->text(), part.grid->spec().text(), part.rows, part.cols,
                part.group_of_column.empty() ? "" : " with column groups");
  std::vector<Tensor> tensors;
  for (const TensorEntry& entry : layout(plan)) tensors.emplace_back(entry.dtype, entry.shape);
  const StoredParams params = stored_params(plan, part);
  from_float(params.scales, plan.grid->scale_dtype, tensors[1].bytes());

  if (!is_packed(plan)) {
    const std::span<std::int8_t> codes = tensors[0].as<std::int8_t>();
    for (std::size_t i = 0; i < part.codes.size(); ++i) codes[i] = static_cast<std::int8_t>(part.codes[i] - 128);
    if (!plan.activation->dynamic) {
      tensors[2].as<float>()[0] = plan.activation->scale;
      if (!plan.activation->symmetric)
        tensors[3].as<std::int8_t>()[0] = static_cast<std::int8_t>(plan.activation->zero - 128);
    }
    return tensors;
  }
  const int bits = plan.grid->bits;
  pack_rows(part.codes, part.cols, bits, packed_bytes(part.cols, bits, 4), tensors[0].bytes());
  if (!plan.grid->symmetric) pack_columns(params.zeros, part.rows, part.groups(), bits, tensors[2].bytes());
  const std::array<std::int64_t, 2> shape = {part.rows, part.cols};
  std::memcpy(tensors.back().bytes().data(), shape.data(), sizeof shape);
  return tensors;
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
    return is_packed(*g.front()) != is_packed(*groups.front().front());
  });

  Json quantization;
  quantization["quant_method"] = "compressed-tensors";
  quantization["format"] = mixed ? "mixed-precision" : storage_format(*groups.front().front());
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
    if (mixed) group["format"] = storage_format(first);
    config_groups[fmt::format("group_{}", i)] = std::move(group);
  }
  quantization["ignore"] = plan.ignored;

  Json config = plan.config();
  config["quantization_config"] = std::move(quantization);
  return config;
}

}  // namespace vernier::compressed_tensors
