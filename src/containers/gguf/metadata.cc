#include "containers/gguf/metadata.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "arch/architecture.h"
#include "base/fail.h"
#include "containers/gguf/names.h"
#include "formats/gguf/block_type.h"
#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_export.h"
#include "tensor/mapped_file.h"

namespace vernier::container_gguf {
namespace {

// general.file_type: the type that most weights have, for listings.
constexpr std::pair<std::string_view, std::int64_t> file_types[] = {
    {"f32", 0},     {"f16", 1},     {"q4_0", 2},  {"q4_1", 3},   {"q8_0", 7},   {"q5_0", 8},
    {"q5_1", 9},    {"q2_k", 10},   {"q3_k", 12}, {"q4_k", 15},  {"q5_k", 17},  {"q6_k", 18},
    {"iq4_nl", 25}, {"iq4_xs", 30}, {"bf16", 32}, {"tq1_0", 36}, {"tq2_0", 37}, {"mxfp4", 38}};

std::string_view type_name(DType dtype) {
  for (const GgufType& type : kGgufTypes)
    if (type.dtype == dtype) return type.name;
  return "";
}

std::int64_t file_type(const OutputPlan& plan) {
  std::map<std::string, std::int64_t> elements;
  for (const WeightPlan& weight : plan.weights) {
    const std::string type = !weight.grid                   ? std::string(type_name(weight.dtype))
                             : weight.grid->format == "int" ? fmt::format("q{}_0", weight.grid->bits)
                                                            : weight.grid->format;
    elements[type] += weight.shape.elements();
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const auto& [name, number] : file_types)
    if (most != elements.end() && name == most->first) return number;
  return 0;
}

// The first rotary op of the model; null without one.
const Op* rotary(const ModelGraph& graph) {
  for (const Graph* part : graph.graphs())
    for (const Op& op : part->ops)
      if (op.kind == OpKind::rope) return &op;
  return nullptr;
}

std::string scaling_type(const ConfigReader& config) {
  for (std::string_view key : {"rope_scaling", "rope_parameters"})
    if (const Json* found = config.find(key); found && found->is_object() && !found->empty())
      for (const char* type : {"rope_type", "type"})
        if (found->contains(type) && (*found)[type].is_string()) return (*found)[type].get<std::string>();
  return "default";
}

double scaling_number(const ConfigReader& config, const char* name, double fallback) {
  for (std::string_view key : {"rope_scaling", "rope_parameters"})
    if (const Json* found = config.find(key); found && found->is_object() && found->contains(name))
      if ((*found)[name].is_number()) return (*found)[name].get<double>();
  return fallback;
}

double theta_of(const ConfigReader& config, double fallback) {
  const double inner = scaling_number(config, "rope_theta", fallback);
  const Json* outer = config.find("rope_theta");
  return outer && outer->is_number() ? outer->get<double>() : inner;
}

// What a family means where config.json is silent, read back from the graph or known of it.
constexpr double default_theta(std::string_view type) { return type == "mixtral" ? 1e6 : 10000; }

// rope_freqs.weight: by what every frequency is divided.
void add_factors(const ConfigReader& config, const ModelGraph& graph, double theta, GgufHeaderWriter& out) {
  std::vector<float> factors;
  if (const Json* found = config.find("rope_scaling"); found && found->contains("factors"))
    factors = found->at("factors").get<std::vector<float>>();  // those of a GGUF file
  const std::vector<float>& frequency = rotary(graph)->rope.inverse_frequency;
  const auto half = static_cast<double>(frequency.size());
  for (std::size_t j = factors.size(); j < frequency.size(); ++j)
    factors.push_back(static_cast<float>(std::pow(theta, -static_cast<double>(j) / half) / frequency[j]));
  std::string bytes(factors.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), factors.data(), bytes.size());
  out.small_tensor({"rope_freqs.weight", find_gguf_type("f32"), Shape{static_cast<std::int64_t>(factors.size())}},
                   bytes);
}

// What the file at `path` says, in its order, but for what is another's in the new file.
Status copy_metadata(const OutputPlan& plan, const std::string& path, GgufHeaderWriter& out) {
  VN_ASSIGN(const auto file, MappedFile::open(path));
  VN_ASSIGN(const GgufHeader header, parse_gguf(file->bytes(), path));
  std::vector<std::pair<std::string_view, const GgufValue*>> values;
  for (const auto& [key, value] : header.metadata) values.emplace_back(key, &value);
  std::sort(values.begin(), values.end(),
            [](const auto& a, const auto& b) { return a.second->bytes().data() < b.second->bytes().data(); });
  for (const auto& [key, value] : values) {
    if (key.starts_with("split.") || key == "general.alignment") continue;
    if (key == "general.file_type")
      out.u32(key, file_type(plan));
    else
      out.value(key, *value);
  }
  const ConfigReader config(plan.config(), path);
  const std::string type = scaling_type(config);
  if (type != "llama3" && type != "factors") return {};
  VN_ASSIGN(const ModelGraph graph, build_model_graph(plan.config(), path));
  add_factors(config, graph, theta_of(config, 10000), out);
  return {};
}

class MetadataWriter {
 public:
  MetadataWriter(const OutputPlan& plan, const ModelGraph& graph, GgufHeaderWriter& out)
      : plan_(plan),
        graph_(graph),
        config_(plan.config(), plan.checkpoint->folder() + "/config.json"),
        out_(out),
        architecture_(architecture_of(plan.config())) {}

  Status write() {
    out_.text("general.architecture", architecture_);
    out_.text("general.type", "model");
    out_.u32("general.quantization_version", 2);
    out_.u32("general.file_type", file_type(plan_));
    std::int64_t rows = 0;
    for (const WeightPlan& weight : plan_.weights)
      if (weight.name == "model.embed_tokens.weight") rows = weight.shape[0];
    VN_TRY(sizes(rows));
    VN_TRY(positions());
    return add_gguf_tokenizer(plan_.checkpoint->folder(), rows, out_);
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }

  Status sizes(std::int64_t rows) {
    const Op* rope = rotary(graph_);
    if (!rope) return config_.refuse("model_type", "a family with rotary positions");
    VN_ASSIGN(const std::int64_t hidden, config_.integer("hidden_size"));
    VN_ASSIGN(const std::int64_t intermediate, config_.integer("intermediate_size"));
    VN_ASSIGN(const std::string type, config_.string("model_type", ""));
    std::int64_t heads = 0, kv_heads = 0, window = 0;
    float eps = 0;
    for (const Op& op : graph_.blocks.at(0).ops) {
      if (op.kind == OpKind::attention) heads = op.heads, kv_heads = op.kv_heads;
      if (op.kind == OpKind::rms_norm) eps = op.eps;
    }
    for (const Graph& block : graph_.blocks)
      for (const Op& op : block.ops) window = std::max(window, op.window);
    VN_ASSIGN(const std::int64_t context, config_.integer("max_position_embeddings", 2048));
    out_.u32(key("context_length"), context);
    out_.u32(key("embedding_length"), hidden);
    out_.u32(key("block_count"), static_cast<std::int64_t>(graph_.blocks.size()));
    out_.u32(key("feed_forward_length"), intermediate);
    out_.u32(key("attention.head_count"), heads);
    out_.u32(key("attention.head_count_kv"), kv_heads);
    out_.u32(key("attention.key_length"), rope->head_dim);
    out_.u32(key("attention.value_length"), rope->head_dim);
    out_.f32(key("attention.layer_norm_rms_epsilon"), eps);
    out_.u32(key("vocab_size"), rows);
    out_.u32(key("rope.dimension_count"), rope->head_dim);
    if (window > 0 && architecture_ != "llama") return config_.refuse("use_sliding_window", "false, for GGUF");
    if (window > 0) out_.u32(key("attention.sliding_window"), window);
    if (type != "mixtral") return {};
    for (const Op& op : graph_.blocks[0].ops) {
      if (op.kind != OpKind::route) continue;
      out_.u32(key("expert_count"), op.experts);
      out_.u32(key("expert_used_count"), op.top_k);
    }
    return {};
  }

  Status positions() {
    VN_ASSIGN(const std::string model_type, config_.string("model_type", ""));
    const double theta = theta_of(config_, default_theta(model_type));
    out_.f32(key("rope.freq_base"), theta);
    const std::string type = scaling_type(config_);
    if (type == "default" || type == "dynamic") return {};
    if (type == "linear") {
      out_.text(key("rope.scaling.type"), "linear");
      out_.f32(key("rope.scaling.factor"), scaling_number(config_, "factor", 1));
      return {};
    }
    if (type == "llama3" || type == "factors") {
      add_factors(config_, graph_, theta, out_);
      return {};
    }
    const double context = scaling_number(config_, "original_max_position_embeddings", 0);
    if (type != "yarn" || context <= 0)
      return config_.refuse("rope_scaling", "linear, llama3, or yarn with original_max_position_embeddings, for GGUF");
    for (const char* extra : {"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate"})
      if (const Json* found = config_.find("rope_scaling"); found && found->contains(extra))
        return config_.refuse("rope_scaling", fmt::format("yarn without {}, for GGUF", extra));
    out_.text(key("rope.scaling.type"), "yarn");
    out_.f32(key("rope.scaling.factor"), scaling_number(config_, "factor", 1));
    out_.u32(key("rope.scaling.original_context_length"), static_cast<std::int64_t>(context));
    return {};
  }

  const OutputPlan& plan_;
  const ModelGraph& graph_;
  ConfigReader config_;
  GgufHeaderWriter& out_;
  std::string architecture_;
};

}  // namespace

Status add_metadata(const OutputPlan& plan, GgufHeaderWriter& out) {
  if (const std::string& path = plan.checkpoint->folder(); is_gguf_path(path)) return copy_metadata(plan, path, out);
  VN_ASSIGN(const ModelGraph graph, build_model_graph(plan.config(), plan.checkpoint->folder() + "/config.json"));
  return MetadataWriter(plan, graph, out).write();
}

Status check_metadata(const OutputPlan& plan) {
  GgufHeaderWriter unused;
  return add_metadata(plan, unused);
}

}  // namespace vernier::container_gguf
