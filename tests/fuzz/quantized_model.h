// A llama of one block in memory whose q_proj is stored quantized, around a quantization_config that is the fuzzer's.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "containers/container.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "tensor/mapped_file.h"

namespace vernier::fuzz {

using Entries = std::vector<std::pair<TensorEntry, std::size_t>>;

inline constexpr std::int64_t kWidth = 64;  // of every matrix
inline constexpr const char* kQuantized = "model.layers.0.self_attn.q_proj";

inline Json config_with(Json quantization) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", kWidth},
          {"intermediate_size", kWidth},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 2},
          {"vocab_size", kWidth},
          {"tie_word_embeddings", true},
          {"quantization_config", std::move(quantization)}};
}

// Zeros that all tensors share.
inline std::shared_ptr<const MappedFile> zeros() {
  static const std::shared_ptr<const MappedFile> file = [] {
    char path[] = "/tmp/vernier-fuzz-XXXXXX";
    const int descriptor = mkstemp(path);
    if (descriptor < 0 || !write_file_atomic(path, std::string(4 * kWidth * kWidth, '\0')).ok()) std::abort();
    auto mapped = MappedFile::open(path);
    if (!mapped.ok()) std::abort();
    return std::move(mapped).value();
  }();
  return file;
}

// Opens the model as `container` and decodes what is quantized; errors are fine, crashes are not.
inline void open_quantized(std::string_view container, std::string_view text, const Entries& quantized) {
  auto quantization = parse_json(text, "config.json");
  if (!quantization.ok() || !quantization->is_object()) return;
  Entries entries = quantized;
  const auto floats = [&](const std::string& name, Shape shape) {
    entries.push_back({{name, DType::f32, std::move(shape)}, 0});
  };
  floats("model.embed_tokens.weight", {kWidth, kWidth});
  floats("model.norm.weight", {kWidth});
  const std::string block = "model.layers.0.";
  for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) floats(block + norm + ".weight", {kWidth});
  for (const char* linear :
       {"self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
    floats(block + linear + ".weight", {kWidth, kWidth});
  const auto descriptor = find_container(container);
  if (!descriptor.ok()) std::abort();
  const auto source = (*descriptor)
                          ->open(Checkpoint::assemble("fuzz", config_with(std::move(quantization).value()), {zeros()},
                                                      std::move(entries)));
  if (!source.ok()) return;
  const std::string weight = std::string(kQuantized) + ".weight";
  if (const auto matrix = (*source)->matrix(weight); matrix.ok()) {
    std::vector<float> values(static_cast<std::size_t>((*matrix)->rows() * (*matrix)->cols()));
    (*matrix)->decode_rows(0, (*matrix)->rows(), values.data());
  }
  static_cast<void>((*source)->part(weight));
}

}  // namespace vernier::fuzz
