#include "pipeline/source_tensors.h"

#include <algorithm>

#include "base/log.h"
#include "containers/container.h"
#include "io/files.h"
#include "io/gguf/checkpoint.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

// The embedding's type where that has 16 bits, else F32.
DType half_type(const ModelSource& source) {
  for (const Op& op : source.graph().embed.ops) {
    if (op.kind != OpKind::embedding) continue;
    const std::string& name = source.graph().embed.tensors[op.weight].name;
    for (const SourceTensor& tensor : source.tensors())
      if (tensor.name == name && (tensor.dtype == DType::f16 || tensor.dtype == DType::bf16)) return *tensor.dtype;
  }
  return DType::f32;
}

bool holds(DType type, const Tensor& values) {
  return std::all_of(values.as<float>().begin(), values.as<float>().end(),
                     [&](float value) { return round_to(type, value) == value; });
}

}  // namespace

Result<std::vector<TensorEntry>> source_tensors(const ModelSource& source) {
  const DType half = source.container() == "gguf" ? half_type(source) : DType::f32;
  std::vector<TensorEntry> tensors;
  for (const SourceTensor& tensor : source.tensors()) {
    TensorEntry entry{tensor.name, tensor.dtype.value_or(DType::bf16), tensor.shape};
    if (half != DType::f32 && tensor.dtype == DType::f32 && tensor.shape.rank() == 1) {
      VN_ASSIGN(const Tensor values, source.vector(tensor.name));
      if (holds(half, values)) entry.dtype = half;
    }
    tensors.push_back(std::move(entry));
  }
  return tensors;
}

Result<Companions> companions_of(const std::string& model, const Checkpoint& checkpoint) {
  Companions companions{companion_files(model), {}};
  if (!is_gguf_path(checkpoint.folder())) return companions;
  const auto& names = companions.copied;
  for (const char* vocabulary : {"tokenizer.json", "tokenizer.model"})
    if (std::find(names.begin(), names.end(), vocabulary) != names.end()) return companions;
  auto made = gguf_companions(checkpoint.folder());
  if (made.ok())
    companions.made = std::move(made).value();
  else
    log_warn("the output gets no tokenizer files: {}", made.error().text());
  return companions;
}

}  // namespace vernier
