// Packed matrices for measurements: equal contents, as many copies as it takes to leave the caches behind.
#pragma once

#include <memory>
#include <vector>

#include "kernels/panel/panel.h"
#include "kernels/panel/rows.h"

namespace vernier {

class PanelStock {
 public:
  // Random codes and parameters; `spec` must pass check(). At least one matrix, and at least `bytes` in all.
  explicit PanelStock(const kernels::PanelSpec& spec, std::int64_t bytes = 0);

  const kernels::PanelSpec& spec() const { return matrices_[0]->spec(); }
  const std::vector<std::shared_ptr<const kernels::PanelMatrix>>& matrices() const { return matrices_; }
  std::int64_t matrix_bytes() const { return matrices_[0]->stored_bytes(); }

  // Random activations as the products with these matrices want them, for the instruction set now in force.
  kernels::QuantizedRows activations(std::int64_t tokens) const;

  // Reads the first `count` matrices, all threads on equal shares of each: the bound of a product with few tokens.
  void read(std::int64_t count) const;

 private:
  std::vector<Tensor> bytes_;
  std::vector<std::shared_ptr<const kernels::PanelMatrix>> matrices_;
};

}  // namespace vernier
