#include "containers/stored_source.h"

#include <algorithm>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/log.h"
#include "io/files.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

// Names shown of a long list.
constexpr std::size_t kListedNames = 8;

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kListedNames); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kListedNames) text += fmt::format(" and {} more", names.size() - kListedNames);
  return text;
}

// Buffers that older exports carry and that the config determines.
bool derived_from_config(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

}  // namespace

LogicalTensor plain_tensor(const TensorEntry& entry, std::string name) {
  std::string format(vernier::name(entry.dtype));
  std::transform(format.begin(), format.end(), format.begin(), [](unsigned char c) { return std::tolower(c); });
  LogicalTensor tensor;
  tensor.info = {std::move(name), entry.shape, std::move(format), entry.bytes()};
  tensor.info.dtype = entry.dtype;
  tensor.stored = {entry.name};
  return tensor;
}

void append_plain_tensors(const Checkpoint& checkpoint, const std::unordered_set<std::string>& claimed,
                          std::vector<LogicalTensor>& tensors) {
  for (const Checkpoint::Entry& entry : checkpoint.entries())
    if (!claimed.contains(entry.tensor.name)) tensors.push_back(plain_tensor(entry.tensor, entry.tensor.name));
}

Result<ModelGraph> graph_of(const Checkpoint& checkpoint) {
  return build_model_graph(checkpoint.config(), checkpoint.folder() + "/config.json");
}

std::shared_ptr<const void> mapping_of(const Checkpoint& checkpoint, const std::string& tensor) {
  const Checkpoint::Entry* entry = checkpoint.find(tensor);
  return entry ? std::shared_ptr<const void>(checkpoint.files()[entry->file]) : nullptr;
}

Result<std::unique_ptr<ModelSource>> StoredSource::make(std::unique_ptr<Checkpoint> checkpoint, ModelGraph graph,
                                                        std::string container, std::vector<LogicalTensor> tensors,
                                                        int kv_bits) {
  std::unique_ptr<StoredSource> source(new StoredSource());
  source->path_ = checkpoint->folder();
  source->container_ = std::move(container);
  source->config_ = checkpoint->config();
  source->graph_ = std::move(graph);
  source->kv_bits_ = kv_bits;
  source->checkpoint_ = std::move(checkpoint);
  source->tensors_ = std::move(tensors);
  for (std::size_t i = 0; i < source->tensors_.size(); ++i) {
    source->infos_.push_back(source->tensors_[i].info);
    if (!source->index_.emplace(source->infos_[i].name, i).second)
      return fail(ErrorCode::invalid, "{}: tensor {} is stored twice, quantized and plain", source->path_,
                  source->infos_[i].name);
  }
  VN_TRY(source->check_against_graph());
  source->checkpoint_->release_all();  // readers looked at small tensors all over the files
  return std::unique_ptr<ModelSource>(std::move(source));
}

Result<const LogicalTensor*> StoredSource::find(const std::string& name) const {
  if (const auto found = index_.find(name); found != index_.end()) return &tensors_[found->second];
  std::vector<std::string> names;
  names.reserve(infos_.size());
  for (const SourceTensor& info : infos_) names.push_back(info.name);
  const std::string near = nearest(name, names);
  Error error = fail(ErrorCode::not_found, "{}: no tensor {} among its {}", path_, name, infos_.size());
  return with_hint(std::move(error), near.empty() ? "the weights do not belong to this config.json"
                                                  : fmt::format("the nearest name is {}", near));
}

Status StoredSource::check_against_graph() const {
  std::unordered_set<std::string> read;
  for (const Graph* graph : graph_.graphs()) {
    for (const TensorRef& wanted : graph->tensors) {
      VN_ASSIGN(const LogicalTensor* found, find(wanted.name));
      if (found->info.shape != wanted.shape)
        return with_hint(fail(ErrorCode::mismatch, "{}: tensor {} has shape {}, but config.json implies {}", path_,
                              wanted.name, found->info.shape.text(), wanted.shape.text()),
                         "use the config.json that was saved with these weights");
      if (!found->open) {
        const DType dtype = checkpoint_->find(found->stored[0])->tensor.dtype;
        if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16 && dtype != DType::f64)
          return with_hint(fail(ErrorCode::unsupported, "{}: tensor {} is stored as {}, wanted F32, F16, BF16 or F64",
                                path_, wanted.name, name(dtype)),
                           "a quantized model must say so in config.json, key quantization_config");
      }
      read.insert(wanted.name);
    }
  }
  std::vector<std::string> unexpected;
  for (const SourceTensor& info : infos_)
    if (!read.contains(info.name) && !derived_from_config(info.name)) unexpected.push_back(info.name);
  if (!unexpected.empty())
    log_warn("{}: {} tensor{} that a {} model does not read: {}", path_, unexpected.size(),
             unexpected.size() == 1 ? "" : "s", graph_.architecture, listed(unexpected));
  return {};
}

Result<std::shared_ptr<const WeightMatrix>> StoredSource::matrix(const std::string& name) const {
  VN_ASSIGN(const LogicalTensor* tensor, find(name));
  if (tensor->info.shape.rank() != 2)
    return fail(ErrorCode::mismatch, "{}: tensor {} has shape {}, wanted a matrix", path_, name,
                tensor->info.shape.text());
  if (tensor->open) return tensor->open(*checkpoint_);
  VN_ASSIGN(const TensorView view, checkpoint_->view(tensor->stored[0]));
  if (!is_float(view.dtype))
    return fail(ErrorCode::unsupported, "{}: tensor {} is stored as {}, wanted floats", path_, name,
                vernier::name(view.dtype));
  return dense_matrix(view, mapping_of(*checkpoint_, tensor->stored[0]));
}

Result<GridPart> StoredSource::part(const std::string& name) const {
  VN_ASSIGN(const LogicalTensor* tensor, find(name));
  if (!tensor->part) return ModelSource::part(name);
  VN_ASSIGN(GridPart part, tensor->part(*checkpoint_));
  for (const std::string& stored : tensor->stored) checkpoint_->release(stored);
  return part;
}

Result<Tensor> StoredSource::vector(const std::string& name) const {
  VN_ASSIGN(const LogicalTensor* tensor, find(name));
  if (tensor->open && tensor->info.shape.rank() == 1) {
    VN_ASSIGN(const auto matrix, tensor->open(*checkpoint_));
    Tensor values(DType::f32, tensor->info.shape);
    matrix->decode_rows(0, matrix->rows(), values.as<float>().data());
    return values;
  }
  if (tensor->open)
    return fail(ErrorCode::unsupported, "{}: tensor {} is stored as {}, wanted plain floats", path_, name,
                tensor->info.format);
  VN_ASSIGN(const TensorView view, checkpoint_->view(tensor->stored[0]));
  return to_float_tensor(view, path_ + ": " + name);
}

std::optional<ActivationSpec> StoredSource::activation(const std::string& weight_name) const {
  const auto found = index_.find(weight_name);
  return found == index_.end() ? std::nullopt : tensors_[found->second].activation;
}

void StoredSource::release(const Graph& graph) const {
  for (const TensorRef& tensor : graph.tensors)
    if (const auto found = index_.find(tensor.name); found != index_.end())
      for (const std::string& stored : tensors_[found->second].stored) checkpoint_->release(stored);
}

}  // namespace vernier
