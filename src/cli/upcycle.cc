#include "cli/upcycle.h"

#include <algorithm>
#include <set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "cli/model_writer.h"
#include "containers/container.h"
#include "io/checkpoint.h"
#include "io/files.h"

namespace vernier {
namespace {

Result<Json> mixture_config(const Checkpoint& dense, std::int64_t experts) {
  const Json& config = dense.config();
  const std::string type = config.contains("model_type") && config["model_type"].is_string()
                               ? config["model_type"].get<std::string>()
                               : std::string();
  if (type != "llama" && type != "mistral")
    return fail(ErrorCode::unsupported, "{}: only llama and mistral can be upcycled, found \"{}\"", dense.folder(),
                type);
  if (config.contains("quantization_config"))
    return fail(ErrorCode::unsupported, "{} is quantized; upcycling needs the float checkpoint", dense.folder());
  if (experts < 1) return fail(ErrorCode::invalid, "--experts {}: at least 1 is needed", experts);
  Json mixture = config;
  for (const char* key : {"attention_bias", "mlp_bias", "pretraining_tp"}) mixture.erase(key);
  mixture["architectures"] = Json::array({"MixtralForCausalLM"});
  mixture["model_type"] = "mixtral";
  mixture["num_local_experts"] = experts;
  mixture["num_experts_per_tok"] = std::min<std::int64_t>(2, experts);
  if (!mixture.contains("sliding_window")) mixture["sliding_window"] = nullptr;
  return mixture;
}

// "….block_sparse_moe.experts.3.w1.weight" -> "….mlp.gate_proj.weight"; other names stay.
std::string dense_name(const std::string& name) {
  constexpr std::string_view marker = ".block_sparse_moe.experts.";
  const std::size_t at = name.find(marker);
  if (at == std::string::npos) return name;
  const std::string layer = name.substr(0, at);
  if (name.ends_with(".w1.weight")) return layer + ".mlp.gate_proj.weight";
  if (name.ends_with(".w2.weight")) return layer + ".mlp.down_proj.weight";
  return layer + ".mlp.up_proj.weight";
}

bool is_router(const std::string& name) { return name.ends_with(".block_sparse_moe.gate.weight"); }

// Tensors of the mixture in graph order. Every tensor of the source must have found a place.
Result<std::vector<TensorEntry>> mixture_tensors(const ModelGraph& model, const Checkpoint& dense) {
  std::vector<TensorEntry> entries;
  std::set<std::string> seen, used;
  for (const Graph* graph : model.graphs()) {
    for (const TensorRef& tensor : graph->tensors) {
      if (!seen.insert(tensor.name).second) continue;
      const std::string from = is_router(tensor.name) ? "model.embed_tokens.weight" : dense_name(tensor.name);
      VN_ASSIGN(const TensorView view, dense.view(from));
      if (!is_router(tensor.name)) {
        used.insert(from);
        if (view.shape != tensor.shape)
          return fail(ErrorCode::mismatch, "{}: {} is {}, the config wants {}", dense.folder(), from, view.shape.text(),
                      tensor.shape.text());
      }
      entries.push_back({tensor.name, view.dtype, tensor.shape, 0});
    }
  }
  for (const Checkpoint::Entry& entry : dense.entries()) {
    const std::string& name = entry.tensor.name;
    // Old checkpoints store the rotary frequencies, which the config determines.
    if (used.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
    if (name == "lm_head.weight" && model.tied_head) continue;
    return fail(ErrorCode::unsupported, "{}: a mixtral has no place for {}", dense.folder(), name);
  }
  return entries;
}

Status copy_tensor(const Checkpoint& dense, const TensorEntry& entry, SafetensorsWriter& writer) {
  constexpr std::size_t part = 16 << 20;
  const std::string from = dense_name(entry.name);
  VN_ASSIGN(const TensorView view, dense.view(from));
  for (std::size_t at = 0; at < view.bytes.size(); at += part) {
    const auto piece = view.bytes.subspan(at, std::min(part, view.bytes.size() - at));
    VN_TRY(writer.write_part(entry.name, static_cast<std::int64_t>(at), piece));
    dense.release(from);
  }
  return {};
}

}  // namespace

Status write_upcycled_model(const std::string& from, const std::string& folder, std::int64_t experts,
                            std::uint64_t seed, std::int64_t max_shard_bytes) {
  VN_ASSIGN(const auto dense, Checkpoint::open(from));
  VN_ASSIGN(const Json config, mixture_config(*dense, experts));
  VN_ASSIGN(const ModelGraph model, build_model_graph(config, from));
  VN_ASSIGN(const auto entries, mixture_tensors(model, *dense));
  VN_TRY(write_model(folder, config, entries, max_shard_bytes,
                     [&](const TensorEntry& entry, SafetensorsWriter& writer) -> Status {
                       constexpr float router_deviation = 0.02f;
                       if (is_router(entry.name)) return fill_normal(entry, writer, seed, 0, router_deviation);
                       return copy_tensor(*dense, entry, writer);
                     }));
  for (const std::string& file : companion_files(from))
    VN_TRY(copy_file_atomic(from + "/" + file, folder + "/" + file));
  return {};
}

}  // namespace vernier
