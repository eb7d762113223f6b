#include <algorithm>
#include <array>

#include "base/fail.h"
#include "containers/container.h"
#include "io/files.h"

namespace vernier {
namespace {

std::string known_names() {
  std::string text;
  for (const ContainerDescriptor* container : containers())
    text += fmt::format("{}{}", text.empty() ? "" : ", ", container->name);
  return text;
}

// Weights in whatever form: converted or left behind, never copied.
bool holds_weights(const std::string& name) {
  static constexpr std::array<std::string_view, 13> kSuffixes = {".safetensors", ".safetensors.index.json",
                                                                 ".bin",         ".bin.index.json",
                                                                 ".gguf",        ".pt",
                                                                 ".pth",         ".ckpt",
                                                                 ".h5",          ".onnx",
                                                                 ".msgpack",     ".part",
                                                                 ".tflite"};
  return std::any_of(kSuffixes.begin(), kSuffixes.end(), [&](std::string_view s) { return name.ends_with(s); });
}

}  // namespace

Result<const ContainerDescriptor*> find_container(std::string_view name) {
  std::vector<std::string> names;
  for (const ContainerDescriptor* container : containers()) {
    if (container->name == name) return container;
    names.emplace_back(container->name);
  }
  const std::string near = nearest(name, names);
  Error error = fail(ErrorCode::not_found, "no container \"{}\"; known are {}", name, known_names());
  return near.empty() ? error : with_hint(std::move(error), fmt::format("did you mean {}?", near));
}

std::string quant_method(const Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return {};
  const auto method = quantization->find("quant_method");
  return method != quantization->end() && method->is_string() ? method->get<std::string>() : std::string();
}

Result<std::unique_ptr<ModelSource>> open_model(const std::string& folder) {
  VN_ASSIGN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::open(folder));
  const Json& config = checkpoint->config();
  for (const ContainerDescriptor* container : containers())
    if (container->recognizes(config)) return container->open(std::move(checkpoint));

  const std::string named = quant_method(config);
  const std::string method = named.empty() ? "without a quant_method" : "with quant_method \"" + named + "\"";
  return with_hint(fail(ErrorCode::unsupported,
                        "{}/config.json: a quantization_config {}, which no container here reads; known are {}", folder,
                        method, known_names()),
                   "start from the unquantized checkpoint, or from one in a known container");
}

std::vector<std::string> companion_files(const std::string& folder) {
  std::vector<std::string> files;
  for (const std::string& name : list_directory(folder)) {
    const bool hidden = name.starts_with(".");
    if (hidden || name == "config.json" || holds_weights(name) || is_directory(folder + "/" + name)) continue;
    files.push_back(name);
  }
  return files;
}

}  // namespace vernier
