#include "containers/tiny_model.h"

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "tensor/convert.h"

namespace vernier::testing {
namespace {

constexpr std::int64_t kHidden = 64, kIntermediate = 96, kKeyWidth = 32, kVocab = 32;

Tensor random_tensor(const Shape& shape, std::uint64_t seed) {
  const Random random(seed);
  std::vector<float> values(shape.elements());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.1f * random.normal(i);
  Tensor tensor(DType::bf16, shape);
  from_float(values, DType::bf16, tensor.bytes());
  return tensor;
}

}  // namespace

TinyModel TinyModel::make() {
  TinyModel model;
  model.config = Json{{"architectures", {"LlamaForCausalLM"}},
                      {"model_type", "llama"},
                      {"hidden_size", kHidden},
                      {"intermediate_size", kIntermediate},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", 4},
                      {"num_key_value_heads", 2},
                      {"vocab_size", kVocab},
                      {"max_position_embeddings", 64},
                      {"rms_norm_eps", 1e-5},
                      {"rope_theta", 10000.0},
                      {"hidden_act", "silu"},
                      {"tie_word_embeddings", false},
                      {"torch_dtype", "bfloat16"}};
  const std::string block = "model.layers.0.";
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"model.embed_tokens.weight", {kVocab, kHidden}},
      {block + "self_attn.q_proj.weight", {kHidden, kHidden}},
      {block + "self_attn.k_proj.weight", {kKeyWidth, kHidden}},
      {block + "self_attn.v_proj.weight", {kKeyWidth, kHidden}},
      {block + "self_attn.o_proj.weight", {kHidden, kHidden}},
      {block + "mlp.gate_proj.weight", {kIntermediate, kHidden}},
      {block + "mlp.up_proj.weight", {kIntermediate, kHidden}},
      {block + "mlp.down_proj.weight", {kHidden, kIntermediate}},
      {block + "input_layernorm.weight", {kHidden}},
      {block + "post_attention_layernorm.weight", {kHidden}},
      {"model.norm.weight", {kHidden}},
      {"lm_head.weight", {kVocab, kHidden}},
  };
  for (const auto& [name, shape] : shapes) model.tensors.emplace_back(name, random_tensor(shape, model.tensors.size()));
  return model;
}

Tensor& TinyModel::operator[](const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == name; });
  if (found != tensors.end()) return found->second;
  return tensors.emplace_back(name, Tensor()).second;
}

void TinyModel::rename(const std::string& from, const std::string& to) {
  for (auto& [name, tensor] : tensors)
    if (name == from) name = to;
}

void TinyModel::erase(const std::string& name) {
  std::erase_if(tensors, [&](const auto& t) { return t.first == name; });
}

Status TinyModel::write(const std::string& folder) const {
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back({name, tensor.dtype(), tensor.shape()});
  VN_TRY(make_directories(folder));
  VN_ASSIGN(auto writer, SafetensorsWriter::open(folder + "/model.safetensors",
                                                 plan_safetensors(std::move(entries), {{"format", "pt"}})));
  for (const auto& [name, tensor] : tensors) VN_TRY(writer->write(name, tensor.bytes()));
  VN_TRY(writer->finish());
  return write_file_atomic(folder + "/config.json", dump_json(config));
}

Result<TinyModel> TinyModel::read(const std::string& folder) {
  VN_ASSIGN(const auto checkpoint, Checkpoint::open(folder));
  TinyModel model;
  model.config = checkpoint->config();
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    VN_ASSIGN(const TensorView view, checkpoint->view(entry.tensor.name));
    Tensor copy(view.dtype, view.shape);
    std::memcpy(copy.bytes().data(), view.bytes.data(), view.bytes.size());
    model.tensors.emplace_back(entry.tensor.name, std::move(copy));
  }
  return model;
}

}  // namespace vernier::testing
