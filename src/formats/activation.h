// Quantizers on activations.
#pragma once

#include <string>

namespace vernier {

// A quantizer on the input of a linear (the Range seam for activations: static parameters or dynamic).
struct ActivationSpec {
  int bits = 8;
  bool symmetric = true;
  bool dynamic = true;
  bool per_token = true;    // false: one scale for the tensor
  bool full_range = false;  // symmetric scale = 2 absmax / (2^b - 1), lowest code used (compressed-tensors); else
                            // absmax / (2^(b-1) - 1)
  float scale = 0;          // static
  float zero = 0;           // static asymmetric: code of 0, in [0, 2^b - 1]
  bool operator==(const ActivationSpec&) const = default;
};

}  // namespace vernier
