#include "cli/model_writer.h"

#include <algorithm>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/threads.h"
#include "io/files.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

std::vector<std::vector<TensorEntry>> cut_shards(const std::vector<TensorEntry>& tensors,
                                                 std::int64_t max_shard_bytes) {
  std::vector<std::vector<TensorEntry>> shards;
  std::int64_t bytes = 0;
  for (const TensorEntry& tensor : tensors) {
    if (shards.empty() || bytes + tensor.bytes() > max_shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(tensor);
    bytes += tensor.bytes();
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

Status write_index(const std::string& folder, const std::vector<std::vector<TensorEntry>>& shards) {
  Json index;
  std::int64_t total = 0;
  index["metadata"]["total_size"] = 0;
  index["weight_map"] = Json::object();
  for (std::size_t s = 0; s < shards.size(); ++s) {
    for (const TensorEntry& tensor : shards[s]) {
      index["weight_map"][tensor.name] = shard_name(s, shards.size());
      total += tensor.bytes();
    }
  }
  index["metadata"]["total_size"] = total;
  return write_file_atomic(folder + "/model.safetensors.index.json", dump_json(index) + "\n");
}

}  // namespace

Status write_model(const std::string& folder, const Json& config, const std::vector<TensorEntry>& tensors,
                   std::int64_t max_shard_bytes, const FillTensor& fill) {
  if (file_exists(folder) && (!is_directory(folder) || !list_directory(folder).empty()))
    return with_hint(fail(ErrorCode::exists, "{} exists", folder), "give another folder, or remove it");
  VN_TRY(make_directories(folder));
  double total = 0;
  for (const TensorEntry& tensor : tensors) total += static_cast<double>(tensor.bytes());
  const auto shards = cut_shards(tensors, max_shard_bytes);
  Progress progress("writing " + folder, total);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string path = folder + "/" + shard_name(s, shards.size());
    VN_ASSIGN(const auto writer, SafetensorsWriter::open(path, plan_safetensors(shards[s], {{"format", "pt"}})));
    for (const TensorEntry& tensor : shards[s]) {
      VN_TRY(check_interrupt());
      VN_TRY(fill(tensor, *writer));
      progress.advance(static_cast<double>(tensor.bytes()));
    }
    VN_TRY(writer->finish());
  }
  if (shards.size() > 1) VN_TRY(write_index(folder, shards));
  return write_file_atomic(folder + "/config.json", dump_json(config) + "\n");
}

std::uint64_t name_hash(const std::string& name) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return hash;
}

Status fill_normal(const TensorEntry& entry, SafetensorsWriter& writer, std::uint64_t seed, float mean,
                   float deviation) {
  constexpr std::int64_t part = 1 << 23, grain = 1 << 15;
  const Random random(Random(seed).bits(name_hash(entry.name)));
  const std::int64_t elements = entry.shape.elements(), width = size_bytes(entry.dtype);
  std::vector<std::byte> bytes(std::min(part, elements) * width);
  for (std::int64_t first = 0; first < elements; first += part) {
    const std::int64_t count = std::min(part, elements - first);
    parallel_ranges(count, grain, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> values(end - begin);
      for (std::int64_t i = begin; i < end; ++i) values[i - begin] = mean + deviation * random.normal(first + i);
      from_float(values, entry.dtype, std::span(bytes).subspan(begin * width, (end - begin) * width));
    });
    VN_TRY(writer.write_part(entry.name, first * width, std::span(bytes).first(count * width)));
  }
  return {};
}

}  // namespace vernier
