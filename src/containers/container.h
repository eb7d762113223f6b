// What a container registers (src/containers/UNITS): how a model in logical form lies on disk, and back.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/source.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "vernier/format.h"

namespace vernier {

// What the pipeline decides about one weight, before any weight is read.
struct WeightPlan {
  std::string name;  // logical tensor name
  Shape shape;
  std::optional<GridSpec> grid;              // none: copied in its stored type
  DType dtype = DType::bf16;                 // stored type when copied
  bool column_groups = false;                // group_of_column is stored
  std::optional<ActivationSpec> activation;  // quantizer on the linear's input; static scales are filled in later
  std::int64_t heads = 0;  // rotary heads whose rows the container stores in its own order; see prepare()
};

// The whole output, before any weight is read.
struct OutputPlan {
  const Checkpoint* checkpoint = nullptr;
  // The model where its tensors are not the checkpoint's own: a transform rewrote it, or a GGUF file holds it. Else
  // null.
  std::shared_ptr<const ModelSource> rewritten = nullptr;
  std::vector<WeightPlan> weights;   // every tensor of the output, source order
  std::vector<std::string> ignored;  // module names of linears that stay in high precision
  std::string recipe_yaml;
  std::int64_t max_shard_bytes = 0;  // 0: the container's own limit

  const Json& config() const { return rewritten ? rewritten->config() : checkpoint->config(); }
};

// A file of weights that is not safetensors: its header, and where its entries of layout() lie behind it.
struct PlacedFile {
  std::string file;
  SafetensorsPlan plan;
};

// accepts, layout, encode and config are null for containers that are only read.
struct ContainerDescriptor {
  std::string_view name;  // "compressed-tensors"
  std::string_view summary;
  std::string_view also_reads = {};  // what it holds of others' making that is not written here
  // Whether this container can hold the plan; the refusal names the tensor and what the container lacks.
  Status (*accepts)(const OutputPlan& plan);
  // Tensors that one weight becomes, exact sizes, in the order encode() returns them.
  std::vector<TensorEntry> (*layout)(const WeightPlan& weight);
  // Bytes of a quantized weight, one Tensor per layout() entry. `plan.activation` has its static scale by now.
  Result<std::vector<Tensor>> (*encode)(const WeightPlan& plan, const GridPart& part);
  // config.json of the output.
  Result<Json> (*config)(const OutputPlan& plan);
  // Whether a folder is of this container, by its config.
  bool (*recognizes)(const Json& config);
  Result<std::unique_ptr<ModelSource>> (*open)(std::unique_ptr<Checkpoint> checkpoint);

  // The rest is null for containers of safetensors shards that copy what is not quantized as it is.
  // Fills in what the container alone knows of a plan, before accepts().
  void (*prepare)(OutputPlan& plan) = nullptr;
  // The files of the output.
  Result<std::vector<PlacedFile>> (*place)(const OutputPlan& plan) = nullptr;
  // A copied tensor in the form layout() says; nothing where its bytes stay.
  Result<std::optional<Tensor>> (*rewrite)(const WeightPlan& weight, const TensorView& values) = nullptr;
};

std::span<const ContainerDescriptor* const> containers();
Result<const ContainerDescriptor*> find_container(std::string_view name);

// quantization_config.quant_method of a config.json; empty where there is none.
std::string quant_method(const Json& config);

// A model folder of any container, a plain float checkpoint included, or a GGUF file. Checks tensors against the
// architecture's graph: a missing tensor or a wrong shape is an error, tensors the graph does not name are reported and
// otherwise ignored.
Result<std::unique_ptr<ModelSource>> open_model(const std::string& folder);

// Files of a model folder that are neither weights nor config.json (tokenizer, generation config, templates, licence):
// copied verbatim into outputs.
std::vector<std::string> companion_files(const std::string& folder);

}  // namespace vernier
