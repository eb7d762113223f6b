#include "containers/gguf/writer.h"

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "containers/gguf/metadata.h"
#include "containers/gguf/names.h"
#include "formats/gguf/grid.h"
#include "formats/gguf/twins.h"
#include "tensor/convert.h"

namespace vernier::container_gguf {
namespace {

Error refuse(const WeightPlan& weight, std::string reason, std::string hint = {}) {
  Error error = fail(ErrorCode::unsupported, "container gguf: {}: {}", weight.name, reason);
  return hint.empty() ? error : with_hint(std::move(error), std::move(hint));
}

// The block type of a grid: its own, or its twin.
const BlockType* block_type_of(const GridSpec& grid) {
  if (const BlockType* type = find_block_type(grid.format)) return type;
  const auto twin = twin_of(grid);
  return twin ? find_block_type(twin->format) : nullptr;
}

const GgufType* plain_type(DType dtype) {
  for (const GgufType& type : kGgufTypes)
    if (type.dtype == dtype) return &type;
  return nullptr;
}

// llama.cpp wants vectors and routers in float.
bool is_float32(const WeightPlan& weight) {
  return weight.shape.rank() == 1 || weight.name.ends_with(".block_sparse_moe.gate.weight");
}

// The file's tensors hold an expert each until they are placed as stacks.
std::string entry_name(const WeightPlan& weight) {
  const auto stored = stored_name(weight.name);
  if (!stored) return weight.name;
  return stored->expert < 0 ? stored->name : fmt::format("{}[{}]", stored->name, stored->expert);
}

Status accepts_weight(const WeightPlan& weight, const std::string& architecture) {
  const auto stored = stored_name(weight.name);
  if (!stored) return refuse(weight, fmt::format("GGUF's {} has no such tensor", architecture));
  if (weight.activation) return refuse(weight, "GGUF keeps no quantizers of activations");
  if (weight.column_groups) return refuse(weight, "its columns are not grouped in order");
  if (weight.heads > 0 && weight.shape[0] % (2 * weight.heads) != 0)
    return refuse(weight, fmt::format("{} rows for {} heads", weight.shape[0], weight.heads));
  if (!weight.grid) {
    if (!plain_type(weight.dtype) || !is_float(weight.dtype))
      return refuse(weight, fmt::format("stored as {}, wanted floats", name(weight.dtype)));
    if (weight.shape.rank() > 2) return refuse(weight, "of shape " + weight.shape.text());
    return {};
  }
  if (is_float32(weight)) return refuse(weight, "llama.cpp wants it in float");
  const BlockType* type = block_type_of(*weight.grid);
  if (!type)
    return refuse(weight, fmt::format("{} is none of its block types", weight.grid->text()),
                  "a recipe gguf-q4_0, gguf-q4_k ... or --set format=q4_k; symmetric integers of 4, 5 or 8 bits in "
                  "groups of 32 with f16 scales also fit");
  if (weight.shape[1] % type->block() != 0)
    return refuse(weight,
                  fmt::format("rows of {} are not whole blocks of {} ({})", weight.shape[1], type->block(), type->name),
                  "give it another format in overrides: q4_0, q5_0 and q8_0 take multiples of 32, bits: 16 anything");
  return {};
}

// The bytes of rows of `row_bytes` in the order the file wants.
void reorder_rows(const std::byte* rows, std::int64_t count, std::int64_t row_bytes, std::int64_t heads,
                  std::byte* out) {
  const std::vector<std::int32_t> place = stored_rows(count, heads);
  for (std::int64_t r = 0; r < count; ++r)
    std::memcpy(out + place[r] * row_bytes, rows + r * row_bytes, static_cast<std::size_t>(row_bytes));
}

}  // namespace

const GgufType* type_of(const WeightPlan& weight) {
  if (weight.grid) return find_gguf_type(block_type_of(*weight.grid)->name);
  return is_float32(weight) ? plain_type(DType::f32) : plain_type(weight.dtype);
}

Status accepts(const OutputPlan& plan) {
  const std::string architecture = architecture_of(plan.config());
  if (architecture.empty())
    return with_hint(fail(ErrorCode::unsupported, "container gguf: no GGUF architecture for this model_type"),
                     "llama, mistral, mixtral, qwen2 and qwen3 have one");
  for (const WeightPlan& weight : plan.weights) VN_TRY(accepts_weight(weight, architecture));
  return check_metadata(plan);
}

void prepare(OutputPlan& plan) {
  for (WeightPlan& weight : plan.weights)
    if (const auto stored = stored_name(weight.name)) weight.heads = interleaved_heads(plan.config(), stored->name);
}

std::vector<TensorEntry> layout(const WeightPlan& weight) {
  if (!weight.grid) return {{entry_name(weight), *type_of(weight)->dtype, weight.shape}};
  const BlockType& type = *block_type_of(*weight.grid);
  return {{entry_name(weight), DType::u8, Shape{weight.shape[0], weight.shape[1] / type.block() * type.bytes()}}};
}

Result<std::vector<Tensor>> encode(const WeightPlan& plan, const GridPart& part) {
  if (Shape{part.rows, part.cols} != plan.shape || part.grid->spec() != *plan.grid || !part.group_of_column.empty())
    return fail(ErrorCode::mismatch, "{}: planned as {} {}, solved as {} [{}, {}]", plan.name, plan.shape.text(),
                plan.grid->text(), part.grid->spec().text(), part.rows, part.cols);
  const BlockType& type = *block_type_of(*plan.grid);
  VN_ASSIGN(const FormatDescriptor* format, find_format(type.name));
  std::vector<Tensor> tensors = plan.grid->format == type.name ? format->pack(part) : format->pack(as_twin(part));
  if (plan.heads == 0) return tensors;
  Tensor ordered(DType::u8, tensors[0].shape());
  reorder_rows(tensors[0].bytes().data(), part.rows, tensors[0].shape()[1], plan.heads, ordered.bytes().data());
  tensors[0] = std::move(ordered);
  return tensors;
}

Result<std::optional<Tensor>> rewrite(const WeightPlan& weight, const TensorView& values) {
  const DType dtype = *type_of(weight)->dtype;
  if (dtype == values.dtype && weight.heads == 0) return std::optional<Tensor>();
  Tensor stored(dtype, values.shape);
  if (dtype == values.dtype) {
    std::memcpy(stored.bytes().data(), values.bytes.data(), values.bytes.size());
  } else {
    VN_ASSIGN(const Tensor floats, to_float_tensor(values, weight.name));
    from_float(floats.as<float>(), dtype, stored.bytes());
  }
  if (weight.heads == 0) return std::optional<Tensor>(std::move(stored));
  Tensor ordered(dtype, values.shape);
  const std::int64_t rows = values.shape[0];
  reorder_rows(stored.bytes().data(), rows, static_cast<std::int64_t>(stored.bytes().size()) / rows, weight.heads,
               ordered.bytes().data());
  return std::optional<Tensor>(std::move(ordered));
}

Result<Json> config(const OutputPlan& plan) {
  Json config = plan.config();
  config.erase("quantization_config");
  return config;
}

}  // namespace vernier::container_gguf
