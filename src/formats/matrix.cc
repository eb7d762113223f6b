// Weight matrices that are not packed: float storage, and records in logical form.
#include <algorithm>
#include <cctype>
#include <cstdint>

#include "formats/soundness.h"
#include "tensor/convert.h"
#include "tensor/finite.h"
#include "vernier/format.h"

namespace vernier {
namespace {

constexpr std::int64_t sum_rows = 16;  // rows of scratch when parts are added up

class DenseMatrix final : public WeightMatrix, public SoundnessCheck {
 public:
  DenseMatrix(TensorView view, std::shared_ptr<const void> keep_alive)
      : view_(std::move(view)), keep_alive_(std::move(keep_alive)) {
    const Shape& shape = view_.shape;
    rows_ = shape.rank() > 1 ? shape[0] : 1;
    cols_ = rows_ > 0 ? shape.elements() / rows_ : 0;
  }

  std::int64_t rows() const override { return rows_; }
  std::int64_t cols() const override { return cols_; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    to_float(view_, first * cols_, {out, static_cast<std::size_t>(count * cols_)});
  }
  std::int64_t stored_bytes() const override { return static_cast<std::int64_t>(view_.bytes.size()); }
  std::string format_text() const override {
    std::string text(name(view_.dtype));
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
  }
  Matrix<const float> dense() const override {
    const auto* data = reinterpret_cast<const float*>(view_.bytes.data());
    if (view_.dtype != DType::f32 || reinterpret_cast<std::uintptr_t>(data) % alignof(float) != 0) return {};
    return {data, rows_, cols_};
  }
  std::optional<Unsound> unsound(std::int64_t first, std::int64_t count, const AllowedCodes&) const override {
    const std::int64_t bad = first_not_finite(view_, first * cols_, count * cols_);
    if (bad < 0) return std::nullopt;
    float value = 0;
    to_float(view_, first * cols_ + bad, {&value, 1});
    return not_finite(first + bad / cols_, bad % cols_, value);
  }

 private:
  TensorView view_;
  std::shared_ptr<const void> keep_alive_;
  std::int64_t rows_, cols_;
};

class RecordMatrix final : public WeightMatrix {
 public:
  explicit RecordMatrix(std::shared_ptr<const WeightRecord> record) : record_(std::move(record)) {}

  std::int64_t rows() const override { return record_->rows; }
  std::int64_t cols() const override { return record_->cols; }
  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    record_->decode_rows(first, count, out);
  }
  // As a container would store it, not as it lies in memory.
  std::int64_t stored_bytes() const override {
    double bits = 0;
    for (const Part& part : record_->parts) {
      if (const auto* grid = std::get_if<GridPart>(&part))
        bits +=
            grid->grid->bits_per_weight(rows(), cols()) * static_cast<double>(rows()) * static_cast<double>(cols()) +
            32.0 * static_cast<double>(grid->group_of_column.size());
      else
        bits += 8.0 * static_cast<double>(std::get<DensePart>(part).values.bytes().size());
    }
    return static_cast<std::int64_t>(bits / 8 + 0.5);
  }
  std::string format_text() const override {
    std::string text;
    for (const Part& part : record_->parts) {
      if (!text.empty()) text += " + ";
      const auto* grid = std::get_if<GridPart>(&part);
      text += grid ? grid->grid->spec().text()
                   : DenseMatrix(std::get<DensePart>(part).values.view(), nullptr).format_text();
    }
    return text;
  }

 private:
  std::shared_ptr<const WeightRecord> record_;
};

}  // namespace

void WeightRecord::decode_rows(std::int64_t first, std::int64_t count, float* out) const {
  const auto decode_part = [this](const Part& part, std::int64_t row, std::int64_t n, float* to) {
    if (const auto* grid = std::get_if<GridPart>(&part))
      grid->decode_rows(row, n, to);
    else
      to_float(std::get<DensePart>(part).values.view(), row * cols, {to, static_cast<std::size_t>(n * cols)});
  };
  if (parts.empty()) {
    std::fill(out, out + count * cols, 0.0f);
    return;
  }
  decode_part(parts[0], first, count, out);
  if (parts.size() == 1) return;
  std::vector<float> addend(std::min(count, sum_rows) * cols);
  for (std::int64_t done = 0; done < count; done += sum_rows) {
    const std::int64_t n = std::min(sum_rows, count - done);
    float* sum = out + done * cols;
    for (std::size_t p = 1; p < parts.size(); ++p) {
      decode_part(parts[p], first + done, n, addend.data());
      for (std::int64_t i = 0; i < n * cols; ++i) sum[i] += addend[i];
    }
  }
}

std::shared_ptr<const WeightMatrix> dense_matrix(TensorView view, std::shared_ptr<const void> keep_alive) {
  return std::make_shared<DenseMatrix>(std::move(view), std::move(keep_alive));
}

std::shared_ptr<const WeightMatrix> dense_matrix(Tensor tensor) {
  auto owned = std::make_shared<const Tensor>(std::move(tensor));
  return std::make_shared<DenseMatrix>(owned->view(), owned);
}

std::shared_ptr<const WeightMatrix> record_matrix(std::shared_ptr<const WeightRecord> record) {
  return std::make_shared<RecordMatrix>(std::move(record));
}

}  // namespace vernier
