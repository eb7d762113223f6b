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
  int group = 0;            // dynamic per token: columns that share a scale; 0: all
  bool full_range = false;  // symmetric scale = 2 absmax / (2^b - 1), lowest code used (compressed-tensors); else
                            // absmax / (2^(b-1) - 1)
  bool floating = false;    // codes are E4M3 floats: bits 8, symmetric, scale = absmax / 448
  float scale = 0;          // static
  float zero = 0;           // static asymmetric: code of 0, in [0, 2^b - 1]
  bool operator==(const ActivationSpec&) const = default;

  // The symmetric scale whose largest code is at absmax.
  float symmetric_scale(float absmax) const {
    if (floating) return absmax / 448;
    const auto half = static_cast<float>(1 << (bits - 1));
    return full_range ? 2 * absmax / (2 * half - 1) : absmax / (half - 1);
  }
};

}  // namespace vernier
