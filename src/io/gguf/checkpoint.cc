#include "io/gguf/checkpoint.h"

#include <cstring>
#include <unordered_set>

#include "base/fail.h"
#include "io/files.h"

namespace vernier {
namespace {

constexpr std::string_view suffix = ".gguf";
constexpr std::string_view rope_factor_tensor = "rope_freqs.weight";
constexpr std::int64_t most_parts = 99999;  // what five digits count

struct Part {
  std::shared_ptr<const MappedFile> file;
  GgufHeader header;
};

Result<Part> open_part(const std::string& path) {
  Part part;
  VN_ASSIGN(part.file, MappedFile::open(path));
  VN_ASSIGN(part.header, parse_gguf(part.file->bytes(), path));
  return part;
}

// "model-00001-of-00003.gguf" without the number; empty where the name is not of that form.
std::string split_stem(const std::string& path, std::int64_t parts) {
  const std::string end = fmt::format("-00001-of-{:05}.gguf", parts);
  return path.ends_with(end) ? path.substr(0, path.size() - end.size()) : std::string();
}

// The other parts of a split file, in order.
Status open_other_parts(const std::string& path, std::vector<Part>& parts) {
  const GgufReader first(parts[0].header, path);
  VN_ASSIGN(const std::int64_t count, first.integer("split.count", 1));
  if (count <= 1) return {};
  if (count > most_parts) return fail(ErrorCode::invalid, "{}: metadata split.count: {} parts", path, count);
  VN_ASSIGN(const std::int64_t number, first.integer("split.no", 0));
  const std::string stem = split_stem(path, count);
  if (number != 0 || stem.empty())
    return with_hint(fail(ErrorCode::invalid, "{}: part {} of {}, wanted the first, named ...-00001-of-{:05}.gguf",
                          path, number + 1, count, count),
                     "give the first part; the others are found beside it");
  VN_ASSIGN(const std::int64_t wanted, first.integer("split.tensors.count", -1));  // -1: not said
  for (std::int64_t i = 1; i < count; ++i) {
    const std::string next = fmt::format("{}-{:05}-of-{:05}.gguf", stem, i + 1, count);
    auto part = open_part(next);
    if (!part.ok())
      return with_hint(fail(part.error().code, "{}: part {} of {}: {}", path, i + 1, count, part.error().message),
                       "all parts of a split file must lie in one folder");
    const GgufReader reader(part->header, next);
    VN_ASSIGN(const std::int64_t its_number, reader.integer("split.no"));
    VN_ASSIGN(const std::int64_t its_count, reader.integer("split.count"));
    if (its_number != i || its_count != count)
      return fail(ErrorCode::mismatch, "{}: says it is part {} of {}, its name says {} of {}", next, its_number + 1,
                  its_count, i + 1, count);
    parts.push_back(std::move(*part));
  }
  std::size_t tensors = 0;
  for (const Part& part : parts) tensors += part.header.tensors.size();
  if (wanted >= 0 && wanted != static_cast<std::int64_t>(tensors))
    return fail(ErrorCode::mismatch, "{}: its {} parts hold {} tensors, metadata split.tensors.count says {}", path,
                count, tensors, wanted);
  return {};
}

// As the checkpoint holds it: blocks are bytes.
TensorEntry entry_of(const GgufTensor& tensor, std::int64_t data_offset) {
  TensorEntry entry{tensor.name, DType::u8, tensor.shape, data_offset + tensor.offset};
  if (tensor.type->dtype) {
    entry.dtype = *tensor.type->dtype;
    return entry;
  }
  std::vector<std::int64_t> dims = tensor.shape.dims();
  dims.back() = dims.back() / tensor.type->block * tensor.type->bytes;
  entry.shape = Shape(std::move(dims));
  return entry;
}

Result<std::vector<float>> read_rope_factors(const Part& part, const std::string& path) {
  for (const GgufTensor& tensor : part.header.tensors) {
    if (tensor.name != rope_factor_tensor) continue;
    if (tensor.shape.rank() != 1 || tensor.type->dtype != DType::f32)
      return fail(ErrorCode::unsupported, "{}: tensor {}: wanted a vector of f32, found {} {}", path, tensor.name,
                  tensor.type->name, tensor.shape.text());
    std::vector<float> factors(static_cast<std::size_t>(tensor.shape[0]));
    std::memcpy(factors.data(), part.file->bytes().data() + part.header.data_offset + tensor.offset,
                factors.size() * sizeof(float));
    return factors;
  }
  return std::vector<float>();
}

}  // namespace

bool is_gguf_path(const std::string& path) { return path.ends_with(suffix); }

std::string gguf_in_folder(const std::string& folder) {
  if (const std::string whole = folder + "/model.gguf"; file_exists(whole)) return whole;
  for (const std::string& name : list_directory(folder))
    if (name.starts_with("model-00001-of-") && name.ends_with(suffix)) return folder + "/" + name;
  return {};
}

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path) {
  std::vector<Part> parts(1);
  VN_ASSIGN(parts[0], open_part(path));
  VN_TRY(open_other_parts(path, parts));

  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<std::pair<TensorEntry, std::size_t>> entries;
  std::vector<GgufTensor> table;
  std::vector<float> rope_factors;
  std::unordered_set<std::string> names;
  Json types = Json::object();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    VN_ASSIGN(std::vector<float> factors, read_rope_factors(parts[i], path));
    if (!factors.empty()) rope_factors = std::move(factors);
    for (const GgufTensor& tensor : parts[i].header.tensors) {
      if (!names.insert(tensor.name).second)
        return fail(ErrorCode::invalid, "{}: tensor {} is in two parts", path, tensor.name);
      table.push_back(tensor);
      if (tensor.name == rope_factor_tensor) continue;
      entries.emplace_back(entry_of(tensor, parts[i].header.data_offset), i);
      if (!tensor.type->dtype) append_member(types, tensor.name, tensor.type->name);
    }
    files.push_back(parts[i].file);
  }
  VN_ASSIGN(Json config, gguf_config(GgufReader(parts[0].header, path), table, rope_factors));
  config["quantization_config"] = Json{{"quant_method", "gguf"}, {"types", std::move(types)}};
  return Checkpoint::assemble(path, std::move(config), std::move(files), std::move(entries));
}

}  // namespace vernier
