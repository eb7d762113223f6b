#include "containers/gguf/writer.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/fail.h"
#include "containers/gguf/metadata.h"
#include "containers/gguf/names.h"
#include "formats/gguf/grid.h"
#include "tensor/convert.h"

namespace vernier::container_gguf {
namespace {

Error refuse(const WeightPlan& weight, std::string reason, std::string hint = {}) {
  Error error = fail(ErrorCode::unsupported, "container gguf: {}: {}", weight.name, reason);
  return hint.empty() ? error : with_hint(std::move(error), std::move(hint));
}

// The block type of a grid: its own, or the one whose arithmetic is the same. Symmetric integers in groups of 32 under
// a half scale are Q4_0, Q5_0 or Q8_0, code for code.
const BlockType* block_type_of(const GridSpec& grid) {
  if (const BlockType* type = find_block_type(grid.format)) return type;
  if (grid.format != "int" || !grid.symmetric || grid.group != 32 || grid.scale_dtype != DType::f16) return nullptr;
  return find_block_type(grid.bits == 4 ? "q4_0" : grid.bits == 5 ? "q5_0" : grid.bits == 8 ? "q8_0" : "");
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

const GgufType* type_of(const WeightPlan& weight) {
  if (weight.grid) return find_gguf_type(block_type_of(*weight.grid)->name);
  return is_float32(weight) ? plain_type(DType::f32) : plain_type(weight.dtype);
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

// An integer part as the blocks of the same codes.
GridPart as_blocks(const GridPart& part, const BlockType& type) {
  GridPart blocks = part;
  blocks.grid = make_grid(type.spec()).value();
  const std::size_t groups = part.params.size() / part.grid->params_per_group();
  blocks.params.assign(groups * block_params, 1);
  for (std::size_t g = 0; g < groups; ++g) {
    blocks.params[g * block_params + block_d] = part.params[g * part.grid->params_per_group()];  // the scale
    blocks.params[g * block_params + block_dmin] = 0;
  }
  return blocks;
}

}  // namespace

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
  std::vector<Tensor> tensors =
      plan.grid->format == type.name ? format->pack(part) : format->pack(as_blocks(part, type));
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

// A stack of experts is one tensor of the file; its entries, one an expert, follow each other within it.
Result<PlacedFile> place(const OutputPlan& plan) {
  std::map<std::string, std::vector<const WeightPlan*>> parts;
  std::vector<std::string> order;
  for (const WeightPlan& weight : plan.weights) {
    const StoredName stored = *stored_name(weight.name);
    auto& experts = parts[stored.name];
    if (experts.empty()) order.push_back(stored.name);
    const std::size_t at = stored.expert < 0 ? 0 : static_cast<std::size_t>(stored.expert);
    if (at > plan.weights.size()) return refuse(weight, "experts are not numbered from 0");
    if (experts.size() <= at) experts.resize(at + 1);
    experts[at] = &weight;
  }
  GgufHeaderWriter writer;
  VN_TRY(add_metadata(plan, writer));
  PlacedFile file{"model.gguf", {}};
  for (const std::string& name : order) {
    const auto& experts = parts[name];
    if (std::find(experts.begin(), experts.end(), nullptr) != experts.end())
      return fail(ErrorCode::mismatch, "container gguf: experts of {} are missing", name);
    const bool stack = stored_name(experts[0]->name)->expert >= 0;
    std::vector<std::int64_t> dims = experts[0]->shape.dims();
    if (stack) dims.insert(dims.begin(), static_cast<std::int64_t>(experts.size()));
    writer.tensor({name, type_of(*experts[0]), Shape(dims)});
    std::int64_t begin = writer.tensors().back().offset - writer.small_bytes();
    for (const WeightPlan* weight : experts) {
      if (type_of(*weight) != type_of(*experts[0]) || weight->shape != experts[0]->shape)
        return refuse(*weight, "experts of one stack must be of one type and shape");
      TensorEntry entry = layout(*weight)[0];
      entry.begin = begin;
      begin += entry.bytes();
      file.plan.entries.push_back(std::move(entry));
    }
  }
  file.plan.header = writer.header();
  file.plan.data_bytes = writer.data_bytes();
  return file;
}

Result<Json> config(const OutputPlan& plan) {
  Json config = plan.config();
  config.erase("quantization_config");
  return config;
}

}  // namespace vernier::container_gguf
