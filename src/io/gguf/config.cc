// config.json from GGUF metadata: "<architecture>.<key>" for the sizes, the tensor table for what only it tells (a
// head of its own, biases).
#include <algorithm>
#include <cctype>
#include <cmath>
#include <numbers>
#include <unordered_map>

#include "base/fail.h"
#include "io/gguf/checkpoint.h"
#include "io/torch_dtype.h"

namespace vernier {
namespace {

constexpr std::string_view known_architectures = "llama, qwen2, qwen3";

// The numbers that every published Llama 3.1 to 3.3 has beside its factor.
constexpr std::int64_t llama3_low = 1, llama3_high = 4, llama3_context = 8192;

// Whether `factors` are those numbers' with the last as the factor: then config.json can say so as other loaders read
// it.
bool is_llama3(const std::vector<float>& factors, double theta) {
  const double factor = factors.back();
  if (!(factor > 1)) return false;
  for (std::size_t j = 0; j < factors.size(); ++j) {
    const double frequency = std::pow(theta, -static_cast<double>(j) / static_cast<double>(factors.size()));
    const double turns = double{llama3_context} * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - double{llama3_low}) / double{llama3_high - llama3_low}, 0.0, 1.0);
    const double wanted = 1 / ((1 - kept) / factor + kept);
    if (!(std::fabs(factors[j] - wanted) < 1e-4 * wanted)) return false;
  }
  return true;
}

class ConfigBuilder {
 public:
  ConfigBuilder(const GgufReader& metadata, const std::vector<GgufTensor>& tensors) : metadata_(metadata) {
    for (const GgufTensor& tensor : tensors) tensors_.emplace(tensor.name, &tensor);
  }

  Result<Json> build(const std::vector<float>& rope_factors) {
    VN_ASSIGN(architecture_, metadata_.text("general.architecture"));
    if (architecture_ != "llama" && architecture_ != "qwen2" && architecture_ != "qwen3")
      return with_hint(fail(ErrorCode::unsupported, "{}: metadata general.architecture: \"{}\" is not known here",
                            metadata_.where(), architecture_),
                       fmt::format("known are {}", known_architectures));
    VN_TRY(sizes());
    VN_TRY(family());
    VN_TRY(rope(rope_factors));
    VN_TRY(vocabulary());
    return std::move(config_);
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  Result<std::int64_t> size(std::string_view name) const {
    VN_ASSIGN(const std::int64_t value, metadata_.integer(key(name)));
    if (value < 1) return fail(ErrorCode::invalid, "{}: metadata {}: {}", metadata_.where(), key(name), value);
    return value;
  }
  bool has_tensor(const std::string& name) const { return tensors_.contains(name); }

  // A size that files give as a number, or as an array where layers could differ; they must not.
  Result<std::int64_t> size_of_layers(std::string_view name, std::optional<std::int64_t> fallback = {}) const {
    const GgufValue* value = metadata_.header().find(key(name));
    if (!value && fallback) return *fallback;
    if (!value || !value->is_array()) return size(name);
    VN_ASSIGN(const auto values, metadata_.integers(key(name), static_cast<std::size_t>(layers_)));
    if (values.empty() || std::any_of(values.begin(), values.end(), [&](auto v) { return v != values[0] || v < 1; }))
      return fail(ErrorCode::unsupported, "{}: metadata {}: layers of different sizes", metadata_.where(), key(name));
    return values[0];
  }

  Status sizes() {
    VN_ASSIGN(layers_, size("block_count"));
    VN_ASSIGN(const std::int64_t hidden, size("embedding_length"));
    VN_ASSIGN(const std::int64_t intermediate, size_of_layers("feed_forward_length"));
    VN_ASSIGN(const std::int64_t heads, size_of_layers("attention.head_count"));
    VN_ASSIGN(const std::int64_t kv_heads, size_of_layers("attention.head_count_kv", heads));
    VN_ASSIGN(const std::int64_t context, size("context_length"));
    VN_ASSIGN(head_dim_, metadata_.integer(key("attention.key_length"), hidden / heads));
    VN_ASSIGN(const std::int64_t value_dim, metadata_.integer(key("attention.value_length"), head_dim_));
    VN_ASSIGN(const std::int64_t rotated, metadata_.integer(key("rope.dimension_count"), head_dim_));
    if (value_dim != head_dim_ || rotated != head_dim_)
      return fail(ErrorCode::unsupported,
                  "{}: heads of {} columns, values of {}, {} of them rotated: only equal numbers are handled",
                  metadata_.where(), head_dim_, value_dim, rotated);
    VN_ASSIGN(const double eps, metadata_.number(key("attention.layer_norm_rms_epsilon"), -1));
    if (eps < 0)
      return fail(ErrorCode::not_found, "{}: metadata {}: wanted a number >= 0", metadata_.where(),
                  key("attention.layer_norm_rms_epsilon"));
    config_ = Json{{"hidden_size", hidden},
                   {"intermediate_size", intermediate},
                   {"num_hidden_layers", layers_},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kv_heads},
                   {"head_dim", head_dim_},
                   {"max_position_embeddings", context},
                   {"rms_norm_eps", eps},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", !has_tensor("output.weight")}};
    return {};
  }

  Status family() {
    VN_ASSIGN(const std::int64_t experts, metadata_.integer(key("expert_count"), 0));
    VN_ASSIGN(const std::int64_t window, metadata_.integer(key("attention.sliding_window"), 0));
    const bool biases = has_tensor("blk.0.attn_q.bias");
    std::string type = architecture_;
    if (experts > 0) {
      if (architecture_ != "llama")
        return fail(ErrorCode::unsupported, "{}: {} with {} experts is not handled", metadata_.where(), architecture_,
                    experts);
      type = "mixtral";
      VN_ASSIGN(const std::int64_t used, size("expert_used_count"));
      config_["num_local_experts"] = experts;
      config_["num_experts_per_tok"] = used;
    } else if (architecture_ == "llama" && window > 0) {
      type = "mistral";
    } else if (window > 0) {
      return fail(ErrorCode::unsupported, "{}: metadata {}: a window of {} in a {} model is not handled",
                  metadata_.where(), key("attention.sliding_window"), window, architecture_);
    }
    if (architecture_ == "llama") config_["sliding_window"] = window > 0 ? Json(window) : Json(nullptr);
    if (type != "qwen2") config_["attention_bias"] = biases;
    if (type == "llama") config_["mlp_bias"] = has_tensor("blk.0.ffn_gate.bias");
    config_["model_type"] = type;
    std::string name = type;
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    config_["architectures"] = Json::array({name + "ForCausalLM"});
    config_["torch_dtype"] = float_type();
    return {};
  }

  // The scales of blocks are halves.
  const char* float_type() const {
    bool blocks = false;
    for (const auto& [name, tensor] : tensors_) blocks = blocks || !tensor->type->dtype;
    const auto embedding = tensors_.find("token_embd.weight");
    const auto dtype = embedding == tensors_.end() ? std::nullopt : embedding->second->type->dtype;
    return torch_name(blocks ? DType::f16 : dtype.value_or(DType::f32));
  }

  Status rope(const std::vector<float>& factors) {
    VN_ASSIGN(const double theta, metadata_.number(key("rope.freq_base"), 10000));
    config_["rope_theta"] = theta;
    VN_ASSIGN(const std::string type, metadata_.text(key("rope.scaling.type"), "none"));
    // Files from before rope.scaling.type.
    VN_ASSIGN(const double old_scale, metadata_.number(key("rope.scale_linear"), 1));
    VN_ASSIGN(const double factor, metadata_.number(key("rope.scaling.factor"), old_scale));
    if (!factors.empty()) {
      if (static_cast<std::int64_t>(factors.size()) * 2 != head_dim_)
        return fail(ErrorCode::mismatch, "{}: tensor rope_freqs.weight has {} values, wanted {}", metadata_.where(),
                    factors.size(), head_dim_ / 2);
      config_["rope_scaling"] = is_llama3(factors, theta) ? Json{{"rope_type", "llama3"},
                                                                 {"factor", factors.back()},
                                                                 {"low_freq_factor", llama3_low},
                                                                 {"high_freq_factor", llama3_high},
                                                                 {"original_max_position_embeddings", llama3_context}}
                                                          : Json{{"rope_type", "factors"}, {"factors", factors}};
    } else if (type == "linear" || (type == "none" && factor != 1)) {
      config_["rope_scaling"] = Json{{"rope_type", "linear"}, {"factor", factor}};
    } else if (type == "yarn") {
      VN_ASSIGN(const std::int64_t original, size("rope.scaling.original_context_length"));
      config_["rope_scaling"] =
          Json{{"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", original}};
    } else if (type != "none") {
      return fail(ErrorCode::unsupported, "{}: metadata {}: \"{}\", wanted none, linear or yarn", metadata_.where(),
                  key("rope.scaling.type"), type);
    }
    return {};
  }

  Status vocabulary() {
    const auto embedding = tensors_.find("token_embd.weight");
    if (embedding == tensors_.end() || embedding->second->shape.rank() != 2)
      return with_hint(fail(ErrorCode::not_found, "{}: no matrix token_embd.weight", metadata_.where()),
                       "a file of a vocabulary alone, or one part of a split file, is no model");
    const std::int64_t rows = embedding->second->shape[0];
    VN_ASSIGN(const std::int64_t stated, metadata_.integer(key("vocab_size"), rows));
    const GgufValue* tokens = metadata_.header().find("tokenizer.ggml.tokens");
    const std::int64_t listed = tokens ? tokens->count() : rows;
    if (stated != rows || listed != rows)
      return fail(ErrorCode::mismatch,
                  "{}: token_embd.weight has {} rows, but the vocabulary has {} tokens and {} says {}",
                  metadata_.where(), rows, listed, key("vocab_size"), stated);
    config_["vocab_size"] = rows;
    for (const char* name : {"bos", "eos"}) {
      const std::string id_key = fmt::format("tokenizer.ggml.{}_token_id", name);
      if (!metadata_.has(id_key)) continue;
      VN_ASSIGN(const std::int64_t id, metadata_.integer(id_key));
      config_[fmt::format("{}_token_id", name)] = id;
    }
    return {};
  }

  const GgufReader& metadata_;
  std::unordered_map<std::string, const GgufTensor*> tensors_;
  std::string architecture_;
  std::int64_t layers_ = 0, head_dim_ = 0;
  Json config_;
};

}  // namespace

Result<Json> gguf_config(const GgufReader& metadata, const std::vector<GgufTensor>& tensors,
                         const std::vector<float>& rope_factors) {
  return ConfigBuilder(metadata, tensors).build(rope_factors);
}

}  // namespace vernier
