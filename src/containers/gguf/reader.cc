// GGUF files as models: tensors under the checkpoint's names, rows of q and k back in their order, experts one by one.
// Nothing is expanded: matrices decode the rows they are asked for.
#include "containers/gguf/reader.h"

#include <algorithm>

#include "base/fail.h"
#include "containers/gguf/names.h"
#include "formats/gguf/grid.h"
#include "formats/soundness.h"

namespace vernier::container_gguf {
namespace {

// The rows of another matrix in another order.
class ReorderedMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  ReorderedMatrix(std::shared_ptr<const WeightMatrix> stored, std::vector<std::int32_t> row_of)
      : stored_(std::move(stored)), row_of_(std::move(row_of)) {}

  std::int64_t rows() const override { return stored_->rows(); }
  std::int64_t cols() const override { return stored_->cols(); }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    for (std::int64_t r = first; r < first + count; ++r, out += cols()) stored_->decode_rows(row_of_[r], 1, out);
  }
  std::int64_t stored_bytes() const override { return stored_->stored_bytes(); }
  std::string format_text() const override { return stored_->format_text(); }
  // Rows as they are stored.
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes& allowed) const override {
    return find_unsound(*stored_, first, count, allowed);
  }

 private:
  std::shared_ptr<const WeightMatrix> stored_;
  std::vector<std::int32_t> row_of_;
};

// A logical tensor in the bytes of a stored one.
struct Place {
  std::string stored;
  Shape shape;                      // of the logical tensor
  const BlockType* type = nullptr;  // null: plain floats
  std::int64_t expert = -1, experts = 0;
  std::int64_t heads = 0;  // interleaved
};

std::span<const std::byte> bytes_of(const TensorView& view, const Place& place) {
  if (place.expert < 0) return view.bytes;
  const std::size_t size = view.bytes.size() / static_cast<std::size_t>(place.experts);
  return view.bytes.subspan(size * static_cast<std::size_t>(place.expert), size);
}

Result<std::shared_ptr<const WeightMatrix>> open_place(const Checkpoint& checkpoint, const Place& place) {
  VN_ASSIGN(const TensorView view, checkpoint.view(place.stored));
  const std::span<const std::byte> bytes = bytes_of(view, place);
  // A bias is read as a column: its rows are what may be reordered.
  const bool column = place.shape.rank() == 1;
  const std::int64_t rows = place.shape[0], cols = column ? 1 : place.shape[1];
  std::shared_ptr<const WeightMatrix> matrix;
  if (place.type) {
    VN_ASSIGN(matrix, block_matrix(*place.type, rows, cols, bytes, mapping_of(checkpoint, place.stored)));
  } else {
    matrix = dense_matrix({view.dtype, Shape{rows, cols}, bytes}, mapping_of(checkpoint, place.stored));
  }
  if (place.heads == 0) return matrix;
  return std::shared_ptr<const WeightMatrix>(
      std::make_shared<ReorderedMatrix>(std::move(matrix), stored_rows(rows, place.heads)));
}

// The part of the weight in the order of its rows in the model.
Result<GridPart> part_of(const Checkpoint& checkpoint, const Place& place) {
  VN_ASSIGN(const TensorView view, checkpoint.view(place.stored));
  const std::int64_t rows = place.shape[0], cols = place.shape[1];
  const std::span<const std::byte> bytes = bytes_of(view, place);
  const TensorView blocks{DType::u8, Shape{rows, static_cast<std::int64_t>(bytes.size()) / rows}, bytes};
  VN_ASSIGN(const FormatDescriptor* format, find_format(place.type->name));
  VN_ASSIGN(GridPart part, format->unpack(place.type->spec(), rows, cols, {&blocks, 1}));
  if (place.heads == 0) return part;
  const GridPart stored = part;
  const std::vector<std::int32_t> order = stored_rows(rows, place.heads);
  const std::int64_t params = part.groups() * part.grid->params_per_group();
  for (std::int64_t r = 0; r < rows; ++r) {
    std::copy_n(stored.codes.begin() + order[r] * cols, cols, part.codes.begin() + r * cols);
    std::copy_n(stored.params.begin() + order[r] * params, params, part.params.begin() + r * params);
  }
  return part;
}

bool is_plain_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

class TensorTable {
 public:
  TensorTable(const Checkpoint& checkpoint, const Json& types) : checkpoint_(checkpoint), types_(types) {
    if (const auto experts = checkpoint.config().find("num_local_experts"); experts != checkpoint.config().end())
      experts_ = experts->get<std::int64_t>();
  }

  Result<std::vector<LogicalTensor>> build() {
    for (const Checkpoint::Entry& entry : checkpoint_.entries()) VN_TRY(add(entry.tensor));
    return std::move(tensors_);
  }

 private:
  Status add(const TensorEntry& entry) {
    const std::vector<LogicalName> names = logical_names(entry.name, experts_);
    if (names.empty()) {
      tensors_.push_back(plain_tensor(entry, entry.name));  // listed, and warned about
      return {};
    }
    Place place{entry.name, entry.shape};
    VN_TRY(set_type(place, entry));
    place.heads = interleaved_heads(checkpoint_.config(), entry.name);
    for (const LogicalName& name : names) VN_TRY(add_one(entry, place, name));
    return {};
  }

  Status set_type(Place& place, const TensorEntry& entry) {
    const auto type = types_.find(entry.name);
    if (type == types_.end()) {
      if (is_plain_float(entry.dtype)) return {};
      return fail(ErrorCode::unsupported, "{}: tensor {} is stored as {}, wanted floats or blocks",
                  checkpoint_.folder(), entry.name, name(entry.dtype));
    }
    place.type = find_block_type(type->get<std::string>());
    if (!place.type || entry.dtype != DType::u8 || entry.shape.rank() < 2)
      return fail(ErrorCode::unsupported, "{}: tensor {} of shape {} cannot be {}", checkpoint_.folder(), entry.name,
                  entry.shape.text(), type->get<std::string>());
    std::vector<std::int64_t> dims = entry.shape.dims();
    dims.back() = dims.back() / place.type->bytes() * place.type->block();
    place.shape = Shape(std::move(dims));
    return {};
  }

  Status add_one(const TensorEntry& entry, Place place, const LogicalName& name) {
    if (name.expert >= 0) {
      if (place.shape.rank() != 3 || place.shape[0] != experts_)
        return fail(ErrorCode::mismatch, "{}: tensor {} has shape {}, wanted a stack of {} matrices",
                    checkpoint_.folder(), entry.name, place.shape.text(), experts_);
      place.expert = name.expert;
      place.experts = experts_;
      place.shape = Shape{place.shape[1], place.shape[2]};
    }
    if (place.shape.rank() > 2)
      return fail(ErrorCode::mismatch, "{}: tensor {} has shape {}, wanted a matrix or a vector", checkpoint_.folder(),
                  entry.name, place.shape.text());
    if (place.heads > 0 && (place.shape[0] > INT32_MAX || place.shape[0] % (2 * place.heads) != 0))
      return fail(ErrorCode::mismatch, "{}: tensor {} has {} rows, wanted an even number for each of {} heads",
                  checkpoint_.folder(), entry.name, place.shape[0], place.heads);
    LogicalTensor tensor = plain_tensor(entry, name.name);
    tensor.info.shape = place.shape;
    tensor.info.stored_bytes = entry.bytes() / std::max<std::int64_t>(place.experts, 1);
    if (place.type) {
      tensor.info.format = place.type->name;
      tensor.info.grid = place.type->spec();
      tensor.info.dtype.reset();
      tensor.part = [place](const Checkpoint& from) { return part_of(from, place); };
    }
    if (place.type || place.expert >= 0 || place.heads > 0)
      tensor.open = [place](const Checkpoint& from) { return open_place(from, place); };
    tensors_.push_back(std::move(tensor));
    return {};
  }

  const Checkpoint& checkpoint_;
  const Json& types_;
  std::int64_t experts_ = 0;
  std::vector<LogicalTensor> tensors_;
};

}  // namespace

bool recognizes(const Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return false;
  const auto method = quantization->find("quant_method");
  return method != quantization->end() && *method == "gguf" && quantization->contains("types");
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  const Json& types = checkpoint->config().at("quantization_config").at("types");
  if (!types.is_object()) return fail(ErrorCode::invalid, "{}: types: wanted an object", checkpoint->folder());
  for (const auto& [name, type] : types.items())
    if (!type.is_string()) return fail(ErrorCode::invalid, "{}: types: {}: wanted a name", checkpoint->folder(), name);
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  VN_ASSIGN(std::vector<LogicalTensor> tensors, TensorTable(*checkpoint, types).build());
  return StoredSource::make(std::move(checkpoint), std::move(graph), "gguf", std::move(tensors));
}

}  // namespace vernier::container_gguf
