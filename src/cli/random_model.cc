#include "cli/random_model.h"

#include <map>
#include <set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "cli/byte_tokenizer.h"
#include "cli/model_writer.h"
#include "io/torch_dtype.h"

namespace vernier {
namespace {

// Where a family's config differs from the keys most of them share.
void adapt_llama(const ModelSize&, Json& config) {
  config["attention_bias"] = false;
  config["mlp_bias"] = false;
}

void adapt_mixtral(const ModelSize& size, Json& config) {
  const std::int64_t experts = size.experts > 0 ? size.experts : 8;
  config["num_local_experts"] = experts;
  config["num_experts_per_tok"] = std::min<std::int64_t>(2, experts);
  config["sliding_window"] = nullptr;
}

void adapt_opt(const ModelSize& size, Json& config) {
  for (const char* key :
       {"intermediate_size", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "rope_theta"})
    config.erase(key);
  config["activation_function"] = "relu";
  config["do_layer_norm_before"] = true;
  config["enable_bias"] = true;
  config["ffn_dim"] = size.intermediate;
  config["layer_norm_elementwise_affine"] = true;
  config["tie_word_embeddings"] = true;
  config["word_embed_proj_dim"] = size.hidden;
}

struct Family {
  const char* class_name;
  void (*adapt)(const ModelSize& size, Json& config);
};
// A family that is not here gets the shared keys and a class named after its capitalised type.
const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> table{
      {"llama", {"LlamaForCausalLM", adapt_llama}},
      {"mistral", {"MistralForCausalLM", [](const ModelSize&, Json& config) { config["sliding_window"] = nullptr; }}},
      {"mixtral", {"MixtralForCausalLM", adapt_mixtral}},
      {"opt", {"OPTForCausalLM", adapt_opt}},
      {"qwen2", {"Qwen2ForCausalLM", [](const ModelSize&, Json& config) { config["use_sliding_window"] = false; }}},
      {"qwen3", {"Qwen3ForCausalLM", [](const ModelSize&, Json& config) { config["use_sliding_window"] = false; }}},
  };
  return table;
}

Status check_size(const ModelSize& size) {
  if (size.vocab < byte_tokenizer_smallest)
    return fail(ErrorCode::invalid, "--vocab {} is too small: 256 bytes and 3 special tokens need {}", size.vocab,
                byte_tokenizer_smallest);
  const std::int64_t kv_heads = size.kv_heads > 0 ? size.kv_heads : size.heads;
  if (size.heads < 1 || size.hidden % size.heads != 0 || size.hidden / size.heads % 2 != 0)
    return fail(ErrorCode::invalid, "--hidden {} is not an even number of columns for each of {} heads", size.hidden,
                size.heads);
  if (size.heads % kv_heads != 0)
    return fail(ErrorCode::invalid, "{} heads cannot share {} key-value heads evenly", size.heads, kv_heads);
  return {};
}

enum class Fill { weight, norm, bias };

// What each tensor is, from the op that reads it; tied tensors are listed once, in the order of the graphs.
struct PlannedTensors {
  std::vector<TensorEntry> entries;
  std::map<std::string, Fill> fills;
};

PlannedTensors plan_tensors(const ModelGraph& model, DType dtype) {
  PlannedTensors planned;
  std::set<std::string> seen;
  for (const Graph* graph : model.graphs()) {
    const auto add = [&](TensorId id, Fill fill) {
      if (id < 0 || !seen.insert(graph->tensors[id].name).second) return;
      const TensorRef& tensor = graph->tensors[id];
      planned.entries.push_back({tensor.name, dtype, tensor.shape, 0});
      planned.fills[tensor.name] = fill;
    };
    for (const Op& op : graph->ops) {
      const bool norm = op.kind == OpKind::rms_norm || op.kind == OpKind::layer_norm;
      add(op.weight, norm ? Fill::norm : Fill::weight);
      add(op.bias, Fill::bias);
    }
  }
  return planned;
}

}  // namespace

Result<Json> model_config(const ModelSize& size) {
  VN_TRY(check_size(size));
  const auto family = families().find(size.arch);
  std::string class_name = size.arch + "ForCausalLM";
  class_name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(class_name[0])));
  if (family != families().end()) class_name = family->second.class_name;
  Json config;
  config["architectures"] = Json::array({class_name});
  config["model_type"] = size.arch;
  config["hidden_size"] = size.hidden;
  config["intermediate_size"] = size.intermediate;
  config["num_hidden_layers"] = size.layers;
  config["num_attention_heads"] = size.heads;
  config["num_key_value_heads"] = size.kv_heads > 0 ? size.kv_heads : size.heads;
  config["head_dim"] = size.hidden / size.heads;
  config["hidden_act"] = "silu";
  config["rms_norm_eps"] = 1e-5;
  config["rope_theta"] = 10000.0;
  config["max_position_embeddings"] = size.positions;
  config["vocab_size"] = size.vocab;
  config["tie_word_embeddings"] = size.tied_head;
  config["bos_token_id"] = byte_tokenizer_bos;
  config["eos_token_id"] = byte_tokenizer_eos;
  config["torch_dtype"] = torch_name(size.dtype);
  if (family != families().end()) family->second.adapt(size, config);
  return config;
}

Status write_random_model(const std::string& folder, const ModelSize& size, std::int64_t max_shard_bytes) {
  VN_ASSIGN(const Json config, model_config(size));
  VN_ASSIGN(const ModelGraph model, build_model_graph(config, "--arch " + size.arch));
  const PlannedTensors planned = plan_tensors(model, size.dtype);
  VN_TRY(write_model(folder, config, planned.entries, max_shard_bytes,
                     [&](const TensorEntry& entry, SafetensorsWriter& writer) -> Status {
                       constexpr float weight_deviation = 0.02f, bias_deviation = 0.01f;
                       const Fill fill = planned.fills.at(entry.name);
                       if (fill == Fill::norm) return fill_normal(entry, writer, size.seed, 1, 0);
                       return fill_normal(entry, writer, size.seed, 0,
                                          fill == Fill::bias ? bias_deviation : weight_deviation);
                     }));
  return write_byte_tokenizer(folder, size.vocab, size.positions);
}

}  // namespace vernier
