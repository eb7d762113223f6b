// quantization_config of a GPTQ checkpoint, of four bits where it opens.
#include "quantized_model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vernier;
  using namespace vernier::fuzz;
  const std::string module = kQuantized;
  const Entries quantized{{{module + ".qweight", DType::i32, {kWidth / 8, kWidth}}, 0},
                          {{module + ".qzeros", DType::i32, {2, kWidth / 8}}, 0},
                          {{module + ".scales", DType::f16, {2, kWidth}}, 0},
                          {{module + ".g_idx", DType::i32, {kWidth}}, 0}};
  open_quantized("gptq", {reinterpret_cast<const char*>(data), size}, quantized);
  return 0;
}
