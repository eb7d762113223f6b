#include "pipeline/output_folder.h"

#include <algorithm>

#include "base/fail.h"
#include "io/files.h"

namespace vernier {

Result<OutputFolder> OutputFolder::open(const Plan& plan) {
  OutputFolder output;
  output.folder_ = plan.options.out;
  VN_TRY(make_directories(output.folder_));
  for (std::size_t i = 0; i < plan.shards.size(); ++i) {
    const PlannedShard& shard = plan.shards[i];
    for (const TensorEntry& entry : shard.plan.entries) output.shard_of_[entry.name] = i;
    const std::string path = output.folder_ + "/" + shard.file;
    if (file_exists(path)) {
      output.writers_.push_back(nullptr);
      continue;
    }
    VN_ASSIGN(auto writer, SafetensorsWriter::open(path, shard.plan));
    output.writers_.push_back(std::move(writer));
  }
  return output;
}

bool OutputFolder::begun(const Plan& plan) {
  return std::all_of(plan.shards.begin(), plan.shards.end(), [&](const PlannedShard& shard) {
    const std::string path = plan.options.out + "/" + shard.file;
    return file_exists(path) || file_exists(path + ".part");
  });
}

Status OutputFolder::write(const std::string& tensor, std::span<const std::byte> bytes) {
  const auto shard = shard_of_.find(tensor);
  if (shard == shard_of_.end()) return fail(ErrorCode::failed, "{}: tensor {} was not planned", folder_, tensor);
  if (!writers_[shard->second]) return {};
  return writers_[shard->second]->write(tensor, bytes);
}

Status OutputFolder::write_part(const std::string& tensor, std::int64_t offset_bytes,
                                std::span<const std::byte> bytes) {
  const auto shard = shard_of_.find(tensor);
  if (shard == shard_of_.end()) return fail(ErrorCode::failed, "{}: tensor {} was not planned", folder_, tensor);
  if (!writers_[shard->second]) return {};
  return writers_[shard->second]->write_part(tensor, offset_bytes, bytes);
}

Status OutputFolder::sync() {
  for (const auto& writer : writers_) {
    if (writer) VN_TRY(writer->sync());
  }
  return {};
}

Status OutputFolder::finish(const Plan& plan) {
  for (auto& writer : writers_) {
    if (!writer) continue;
    VN_TRY(writer->finish());
    writer.reset();
  }
  for (const std::string& file : plan.companions.copied) {
    VN_TRY(copy_file_atomic(plan.options.model + "/" + file, folder_ + "/" + file));
  }
  for (const MadeFile& file : plan.companions.made) VN_TRY(write_file_atomic(folder_ + "/" + file.name, file.text));
  VN_TRY(write_file_atomic(folder_ + "/recipe.yaml", plan.output.recipe_yaml));
  if (wants_index(plan)) {
    VN_TRY(write_file_atomic(folder_ + "/model.safetensors.index.json", shard_index(plan.shards)));
  }
  VN_ASSIGN(const Json config, plan.container->config(plan.output));
  return write_file_atomic(folder_ + "/config.json", dump_json(config) + "\n");
}

}  // namespace vernier
