#include <gtest/gtest.h>

#include <vector>

#include "tensor/convert.h"
#include "vernier/format.h"

namespace vernier {
namespace {

TEST(DenseMatrix, DecodesEveryFloatType) {
  std::vector<float> values(5 * 7);
  for (int i = 0; i < 35; ++i) values[i] = static_cast<float>(i - 17) * 0.25f;
  for (DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
    Tensor tensor(dtype, {5, 7});
    from_float(values, dtype, tensor.bytes());
    const auto matrix = dense_matrix(std::move(tensor));
    EXPECT_EQ(matrix->rows(), 5);
    EXPECT_EQ(matrix->cols(), 7);
    EXPECT_EQ(matrix->stored_bytes(), 35 * size_bytes(dtype));
    std::vector<float> out(3 * 7);
    matrix->decode_rows(2, 3, out.data());
    EXPECT_TRUE(std::equal(out.begin(), out.end(), values.begin() + 14));
    EXPECT_EQ(matrix->dense().data != nullptr, dtype == DType::f32);
  }
  EXPECT_EQ(dense_matrix(Tensor(DType::bf16, {2, 2}))->format_text(), "bf16");
  EXPECT_EQ(dense_matrix(Tensor(DType::f32, {6}))->cols(), 6);
}

TEST(DenseMatrix, KeepsItsMemoryAlive) {
  auto owner = std::make_shared<Tensor>(DType::f32, Shape{2, 2});
  owner->as<float>()[3] = 4;
  const auto matrix = dense_matrix(owner->view(), owner);
  owner.reset();
  float row[2];
  matrix->decode_rows(1, 1, row);
  EXPECT_EQ(row[1], 4);
}

TEST(WeightRecord, AddsItsParts) {
  const std::int64_t rows = 37, cols = 6;
  auto record = std::make_shared<WeightRecord>();
  record->rows = rows;
  record->cols = cols;
  std::vector<float> none(rows * cols, 1.0f);
  record->decode_rows(0, rows, none.data());
  EXPECT_EQ(none, std::vector<float>(rows * cols, 0.0f));

  GridPart part{.grid = make_grid({"int", 8, true, 0}).value(), .rows = rows, .cols = cols};
  part.codes.assign(rows * cols, 130);
  for (std::int64_t r = 0; r < rows; ++r) part.params.insert(part.params.end(), {0.5f, 128.0f});
  Tensor dense(DType::f32, {rows, cols});
  for (std::int64_t i = 0; i < rows * cols; ++i) dense.as<float>()[i] = static_cast<float>(i);
  record->parts.emplace_back(std::move(part));
  record->parts.emplace_back(DensePart{std::move(dense)});
  const auto matrix = record_matrix(record);
  std::vector<float> out(35 * cols);
  matrix->decode_rows(2, 35, out.data());
  for (std::int64_t i = 0; i < 35 * cols; ++i) EXPECT_EQ(out[i], 1.0f + static_cast<float>(i + 2 * cols));
  EXPECT_EQ(matrix->format_text(), "int8 sym channel f16 + f32");
  EXPECT_EQ(matrix->stored_bytes(), rows * cols + 2 * rows + 4 * rows * cols);
}

}  // namespace
}  // namespace vernier
