#include "containers/gguf/names.h"

#include <array>
#include <charconv>

#include "base/fail.h"

namespace vernier::container_gguf {
namespace {

struct NamePair {
  std::string_view stored, logical;  // without ".weight" or ".bias"
};

constexpr NamePair model_names[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

// Below "blk.<layer>." and "model.layers.<layer>.".
constexpr NamePair layer_names[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
                                    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
                                    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
                                    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
                                    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
                                    {"ffn_down", "mlp.down_proj"},       {"ffn_gate_inp", "block_sparse_moe.gate"}};

// Experts: a stack "<stored>_exps", or, in older files, "<stored>.<expert>".
constexpr NamePair expert_names[] = {{"ffn_gate", "w1"}, {"ffn_up", "w3"}, {"ffn_down", "w2"}};

constexpr std::string_view stored_layer = "blk.", logical_layer = "model.layers.";
constexpr std::string_view experts_part = "block_sparse_moe.experts.";

// Takes a number and the dot behind it off the front.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() + text.size() || *end != '.' || value < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return value;
}

// Splits ".weight" or ".bias" off the end.
std::string_view take_kind(std::string_view& name) {
  for (std::string_view kind : {".weight", ".bias"}) {
    if (!name.ends_with(kind)) continue;
    name.remove_suffix(kind.size());
    return kind;
  }
  return {};
}

std::string expert_name(std::int64_t layer, std::int64_t expert, std::string_view part, std::string_view kind) {
  return fmt::format("{}{}.{}{}.{}{}", logical_layer, layer, experts_part, expert, part, kind);
}

}  // namespace

std::string architecture_of(const Json& config) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) return {};
  if (*type == "llama" || *type == "mistral" || *type == "mixtral") return "llama";
  if (*type == "qwen2" || *type == "qwen3") return type->get<std::string>();
  return {};
}

std::vector<LogicalName> logical_names(std::string_view stored, std::int64_t experts) {
  std::string_view name = stored;
  const std::string_view kind = take_kind(name);
  if (kind.empty()) return {};
  for (const NamePair& pair : model_names)
    if (name == pair.stored) return {{fmt::format("{}{}", pair.logical, kind)}};
  if (!name.starts_with(stored_layer)) return {};
  name.remove_prefix(stored_layer.size());
  const auto layer = take_number(name);
  if (!layer) return {};
  for (const NamePair& pair : layer_names)
    if (name == pair.stored) return {{fmt::format("{}{}.{}{}", logical_layer, *layer, pair.logical, kind)}};
  for (const NamePair& pair : expert_names) {
    if (!name.starts_with(pair.stored)) continue;
    std::string_view rest = name.substr(pair.stored.size());
    std::vector<LogicalName> names;
    if (rest == "_exps")
      for (std::int64_t e = 0; e < experts; ++e) names.push_back({expert_name(*layer, e, pair.logical, kind), e});
    const std::string number = std::string(rest.empty() ? rest : rest.substr(1)) + ".";
    std::string_view digits = number;
    if (rest.starts_with("."))
      if (const auto e = take_number(digits); e && digits.empty())
        names.push_back({expert_name(*layer, *e, pair.logical, kind)});
    if (!names.empty()) return names;
  }
  return {};
}

std::optional<StoredName> stored_name(std::string_view logical) {
  std::string_view name = logical;
  const std::string_view kind = take_kind(name);
  if (kind.empty()) return std::nullopt;
  for (const NamePair& pair : model_names)
    if (name == pair.logical) return StoredName{fmt::format("{}{}", pair.stored, kind)};
  if (!name.starts_with(logical_layer)) return std::nullopt;
  name.remove_prefix(logical_layer.size());
  const auto layer = take_number(name);
  if (!layer) return std::nullopt;
  for (const NamePair& pair : layer_names)
    if (name == pair.logical) return StoredName{fmt::format("{}{}.{}{}", stored_layer, *layer, pair.stored, kind)};
  if (!name.starts_with(experts_part)) return std::nullopt;
  name.remove_prefix(experts_part.size());
  const auto expert = take_number(name);
  if (!expert) return std::nullopt;
  for (const NamePair& pair : expert_names)
    if (name == pair.logical)
      return StoredName{fmt::format("{}{}.{}_exps{}", stored_layer, *layer, pair.stored, kind), *expert};
  return std::nullopt;
}

std::pair<std::int64_t, std::size_t> file_order(std::string_view stored) {
  std::string_view name = stored;
  const std::size_t bias = take_kind(name) == ".bias" ? 1 : 0;
  if (name == model_names[0].stored) return {-1, bias};
  if (!name.starts_with(stored_layer)) return {INT64_MAX, 2 * (name == "output") + bias};
  name.remove_prefix(stored_layer.size());
  const std::int64_t layer = take_number(name).value_or(INT64_MAX);
  std::size_t place = 0;
  for (const NamePair& pair : layer_names) {
    if (name == pair.stored) return {layer, 2 * place + bias};
    ++place;
  }
  for (const NamePair& pair : expert_names) {
    if (name.starts_with(pair.stored)) break;
    ++place;
  }
  return {layer, 2 * place + bias};
}

std::int64_t interleaved_heads(const Json& config, std::string_view stored) {
  if (architecture_of(config) != "llama") return 0;
  std::string_view name = stored;
  take_kind(name);
  const auto heads = [&](const char* key) {
    const auto value = config.find(key);
    return value != config.end() && value->is_number_integer() ? value->get<std::int64_t>() : 0;
  };
  if (!name.starts_with(stored_layer)) return 0;
  if (name.ends_with(".attn_q")) return heads("num_attention_heads");
  if (!name.ends_with(".attn_k")) return 0;
  const std::int64_t kv_heads = heads("num_key_value_heads");
  return kv_heads > 0 ? kv_heads : heads("num_attention_heads");
}

std::vector<std::int32_t> stored_rows(std::int64_t rows, std::int64_t heads) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(rows));
  const std::int64_t width = rows / heads, half = width / 2;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t in_head = r % width;
    order[r] = static_cast<std::int32_t>(r - in_head + 2 * (in_head % half) + in_head / half);
  }
  return order;
}

}  // namespace vernier::container_gguf
