#include "runtime/tiny_model.h"

#include <gtest/gtest.h>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/random.h"

namespace vernier::testing {

TinyModel::TinyModel(const Json& config) {
  path_ = "tiny";
  container_ = "memory";
  config_ = config;
  auto graph = build_model_graph(config, "tiny/config.json");
  if (!graph.ok()) {
    ADD_FAILURE() << graph.error().text();
    return;
  }
  graph_ = std::move(graph).value();
  for (const Graph* part : graph_.graphs()) {
    for (const TensorRef& ref : part->tensors) shapes.emplace(ref.name, ref.shape);
  }
  for (const auto& [name, shape] : shapes) tensors_.push_back({name, shape, "f32", 4 * shape.elements()});
}

Tensor TinyModel::random_tensor(const std::string& name) const {
  const Shape& shape = shapes.at(name);
  std::uint64_t seed = 0;
  for (char c : name) seed = seed * 31 + static_cast<unsigned char>(c);
  const Random random(seed);
  Tensor tensor(DType::f32, shape);
  const float deviation = shape.rank() == 2 ? 1.5f / std::sqrt(static_cast<float>(shape[1])) : 0.3f;
  const float mean = name.find("norm") != std::string::npos && name.ends_with("weight") ? 1.0f : 0.0f;
  for (std::size_t i = 0; i < tensor.as<float>().size(); ++i)
    tensor.as<float>()[i] = mean + deviation * random.normal(i);
  return tensor;
}

Result<std::shared_ptr<const WeightMatrix>> TinyModel::matrix(const std::string& name) const {
  if (!shapes.contains(name)) return fail(ErrorCode::not_found, "tiny: no tensor {}", name);
  return dense_matrix(random_tensor(name));
}

Result<Tensor> TinyModel::vector(const std::string& name) const {
  if (!shapes.contains(name)) return fail(ErrorCode::not_found, "tiny: no tensor {}", name);
  return random_tensor(name);
}

std::optional<ActivationSpec> TinyModel::activation(const std::string& weight_name) const {
  const auto found = activations.find(weight_name);
  return found == activations.end() ? std::nullopt : std::optional(found->second);
}

Json llama_config() {
  return {{"model_type", "llama"},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 61},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 2048},
          {"tie_word_embeddings", false},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"}};
}

Json mistral_config() {
  Json config = llama_config();
  config["model_type"] = "mistral";
  config["sliding_window"] = 5;
  return config;
}

Json mixtral_config(int experts) {
  Json config = llama_config();
  config["model_type"] = "mixtral";
  config["num_local_experts"] = experts;
  config["num_experts_per_tok"] = 2;
  return config;
}

}  // namespace vernier::testing
