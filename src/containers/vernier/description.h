// What the `vernier` container says of its quantized weights in config.json:
//
//   "quantization_config": {
//     "quant_method": "vernier", "version": 2, "panel_layout": 1,
//     "weights": {"<tensor>": {"shape": [rows, cols], "format": "int", "bits": 4, "symmetric": true, "group": 128,
//                              "scale_dtype": "F16", "column_groups": false,
//                              "activation": null | {"bits": 8, "symmetric": true, "dynamic": true, "per_token": true,
//                                                    "full_range": false}}},
//     "recipe": "<the resolved recipe, YAML>"}
//
// group: 0 a channel, -1 the whole tensor. A weight whose grid the kernels take is one U8 tensor "<tensor>.panels" in
// the layout of kernels/panel/panel.h, whose version panel_layout is; others are "<tensor>.<suffix>" for each suffix of
// the format's layout. A static input quantizer adds F32 [1] "<tensor>.input_scale" and, asymmetric,
// "<tensor>.input_zero".
#pragma once

#include <string>
#include <vector>

#include "containers/container.h"

namespace vernier::container_vernier {

constexpr std::int64_t kVersion = 2;

struct Description {
  std::vector<WeightPlan> weights;  // with grids; static input scales are in the tensors
};

Json describe(const OutputPlan& plan);
// `config` is a whole config.json, `where` its path. Every key must be there and no other.
Result<Description> parse_description(const Json& config, const std::string& where);

}  // namespace vernier::container_vernier
