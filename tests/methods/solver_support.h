// Random layers for solver tests: correlated inputs as real activations are, and errors evaluated in double.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "methods/method.h"

namespace vernier::testing {

struct Layer {
  std::int64_t rows, cols;
  std::vector<float> weight;  // [rows, cols]
  std::vector<float> x;       // [tokens, cols]
  Hessian hessian;

  Layer(std::int64_t rows, std::int64_t cols, std::int64_t tokens, std::uint64_t seed,
        const std::vector<std::int64_t>& dead = {})
      : rows(rows), cols(cols), weight(rows * cols), x(tokens * cols), hessian(cols) {
    const Random random(seed);
    std::uint64_t draw = 0;
    for (float& w : weight) w = 0.02f * random.normal(draw++);
    for (std::int64_t t = 0; t < tokens; ++t) {
      float neighbour = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        neighbour = 0.7f * neighbour + random.normal(draw++);
        x[t * cols + c] = neighbour * (1 + static_cast<float>(c * 7919 % 97) / 20);
      }
      for (std::int64_t c : dead) x[t * cols + c] = 0;
    }
    hessian.add({x.data(), tokens, cols});
    hessian.finish();
  }
  Matrix<const float> matrix() const { return {weight.data(), rows, cols}; }
};

// The identity, as a Hessian of tokens along the axes.
inline Hessian identity_hessian(std::int64_t cols) {
  Hessian h(cols);
  std::vector<float> x(cols * cols, 0.0f);
  for (std::int64_t c = 0; c < cols; ++c) x[c * cols + c] = 1;
  h.add({x.data(), cols, cols});
  h.finish();
  for (std::int64_t c = 0; c < cols; ++c) h.matrix()(c, c) = 1;
  return h;
}

// (q - w) H (q - w)^T per row, H undamped.
inline std::vector<double> row_errors(const GridPart& part, Matrix<const float> w, Matrix<const float> h) {
  std::vector<double> errors(w.rows);
  std::vector<float> decoded(w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    part.decode_rows(r, 1, decoded.data());
    for (std::int64_t i = 0; i < w.cols; ++i) {
      double product = 0;
      for (std::int64_t j = 0; j < w.cols; ++j) product += (double{decoded[j]} - w(r, j)) * h(i, j);
      errors[r] += product * (double{decoded[i]} - w(r, i));
    }
  }
  return errors;
}

// Options by name; the rest are the method's defaults.
inline std::unique_ptr<Solver> make_solver(std::string_view method,
                                           const std::vector<std::pair<std::string, OptionValue>>& given = {}) {
  const MethodDescriptor* descriptor = find_method(method).value();
  std::vector<std::pair<std::string, OptionValue>> values;
  for (const OptionSchema& option : descriptor->options) {
    values.emplace_back(option.name, option.fallback);
    for (const auto& [name, value] : given)
      if (name == option.name) values.back().second = value;
  }
  return descriptor->make_solver(Options(std::move(values)));
}

}  // namespace vernier::testing
