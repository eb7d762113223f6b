#include "runtime/golden_models.h"

#include "arch/architecture.h"
#include "base/json.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "support/support.h"
#include "tensor/convert.h"

namespace vernier::testing {
namespace {

class CheckpointSource : public ModelSource {
 public:
  static Result<std::unique_ptr<ModelSource>> open(const std::string& folder, const Json& changes) {
    auto source = std::make_unique<CheckpointSource>();
    VN_ASSIGN(source->checkpoint_, Checkpoint::open(folder));
    source->path_ = folder;
    source->container_ = "safetensors";
    source->config_ = source->checkpoint_->config();
    source->config_.update(changes);
    VN_ASSIGN(source->graph_, build_model_graph(source->config_, folder + "/config.json"));
    for (const Checkpoint::Entry& e : source->checkpoint_->entries())
      source->tensors_.push_back({e.tensor.name, e.tensor.shape, std::string(name(e.tensor.dtype)), e.tensor.bytes()});
    return std::unique_ptr<ModelSource>(std::move(source));
  }

  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override {
    VN_ASSIGN(const TensorView view, checkpoint_->view(name));
    return dense_matrix(view, checkpoint_);
  }
  Result<Tensor> vector(const std::string& name) const override {
    VN_ASSIGN(const TensorView view, checkpoint_->view(name));
    return to_float_tensor(view, name);
  }
  std::optional<ActivationSpec> activation(const std::string&) const override { return {}; }
  void release(const Graph&) const override {}

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<SourceTensor> tensors_;
};

Json read_json(const std::string& path) {
  const auto text = read_text_file(path);
  EXPECT_TRUE(text.ok()) << text.error().text();
  const auto json = parse_json(*text, path);
  EXPECT_TRUE(json.ok()) << json.error().text();
  return *json;
}

std::string cases_folder() { return source_dir() + "/tests/golden/architectures"; }

}  // namespace

Result<std::unique_ptr<ModelSource>> open_checkpoint_source(const std::string& folder, const Json& changes) {
  return CheckpointSource::open(folder, changes);
}

std::vector<std::string> golden_case_names() { return list_directory(cases_folder()); }

GoldenCase load_golden_case(const std::string& name) {
  GoldenCase golden{.name = name, .folder = cases_folder() + "/" + name};
  const Json json = read_json(golden.folder + "/expected.json");
  golden.ids = json.at("ids").get<std::vector<TokenId>>();
  golden.logits = json.at("logits").get<std::vector<std::vector<float>>>();
  for (const Json& t : json.at("toggles"))
    golden.toggles.push_back({t.at("set"), t.at("changes").get<bool>(), t.at("logits_last").get<std::vector<float>>()});
  return golden;
}

GoldenModel load_golden_model(const std::string& name) {
  const Json json = read_json(shared_dir() + "/golden/" + name + ".json");
  return {.ids = json.at("ids").get<std::vector<TokenId>>(),
          .greedy_continuation = json.at("greedy_continuation").get<std::vector<TokenId>>(),
          .logits_last = json.at("logits_last").get<std::vector<float>>(),
          .top5_each_position = json.at("top5_each_position").get<std::vector<std::vector<TokenId>>>()};
}

}  // namespace vernier::testing
