// quantization_config of a compressed-tensors checkpoint: tensors of four packed bits in groups of 32, and the same
// module's as bytes, of which a config chooses.
#include "quantized_model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vernier;
  using namespace vernier::fuzz;
  if (size == 0) return 0;
  const std::string module = kQuantized;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Entries packed{{{module + ".weight_packed", DType::i32, {kWidth, kWidth / 8}}, 0},
                       {{module + ".weight_scale", DType::bf16, {kWidth, 2}}, 0},
                       {{module + ".weight_shape", DType::i64, {2}}, 0}};
  const Entries bytes{{{module + ".weight", DType::i8, {kWidth, kWidth}}, 0},
                      {{module + ".weight_scale", DType::bf16, {kWidth, 1}}, 0}};
  const Entries floats{{{module + ".weight", DType::f8_e4m3, {kWidth, kWidth}}, 0},
                       {{module + ".weight_scale", DType::bf16, {kWidth, 1}}, 0},
                       {{module + ".input_scale", DType::f32, {1}}, 0}};
  open_quantized("compressed-tensors", text, data[0] == 'p' ? packed : data[0] == 'b' ? bytes : floats);
  return 0;
}
