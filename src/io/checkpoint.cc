#include "io/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "base/hash.h"
#include "io/files.h"
#include "io/gguf/checkpoint.h"

namespace vernier {
namespace {

// Files of weights in the order they are to be read: the index's, or the one file.
Result<std::vector<std::string>> weight_files(const std::string& folder,
                                              std::map<std::string, std::string>& weight_map) {
  const std::string index_path = folder + "/model.safetensors.index.json";
  if (!file_exists(index_path)) {
    if (file_exists(folder + "/model.safetensors")) return std::vector<std::string>{"model.safetensors"};
    return with_hint(fail(ErrorCode::not_found, "{}: no model.safetensors and no model.safetensors.index.json", folder),
                     "give the folder of a Hugging Face checkpoint in safetensors form");
  }
  VN_ASSIGN(const std::string text, read_text_file(index_path));
  VN_ASSIGN(const Json index, parse_json(text, index_path));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return fail(ErrorCode::invalid, "{}: wanted an object \"weight_map\"", index_path);
  }
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string() || file.get_ref<const std::string&>().find('/') != std::string::npos) {
      return fail(ErrorCode::invalid, "{}: weight_map of {}: wanted a file name beside the index", index_path, name);
    }
    weight_map[name] = file.get<std::string>();
    files.insert(file.get<std::string>());
  }
  return std::vector<std::string>(files.begin(), files.end());
}

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::assemble(std::string path, Json config,
                                                 std::vector<std::shared_ptr<const MappedFile>> files,
                                                 std::vector<std::pair<TensorEntry, std::size_t>> entries) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->folder_ = std::move(path);
  checkpoint->config_ = std::move(config);
  checkpoint->files_ = std::move(files);
  checkpoint->data_offsets_.assign(checkpoint->files_.size(), 0);
  for (auto& [entry, file] : entries) {
    checkpoint->index_.emplace(entry.name, checkpoint->entries_.size());
    checkpoint->entries_.push_back({std::move(entry), file});
  }
  return checkpoint;
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& folder) {
  if (is_gguf_path(folder)) return open_gguf_checkpoint(folder);
  if (!is_directory(folder)) {
    return with_hint(fail(ErrorCode::not_found, "{}: no such folder", folder),
                     "give the folder that holds config.json");
  }
  if (!file_exists(folder + "/model.safetensors") && !file_exists(folder + "/model.safetensors.index.json"))
    if (const std::string gguf = gguf_in_folder(folder); !gguf.empty()) return open_gguf_checkpoint(gguf);
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->folder_ = folder;
  const std::string config_path = folder + "/config.json";
  VN_ASSIGN(const std::string config, read_text_file(config_path, 64 << 20));
  VN_ASSIGN(checkpoint->config_, parse_json(config, config_path));
  if (!checkpoint->config_.is_object()) return fail(ErrorCode::invalid, "{}: wanted a JSON object", config_path);

  std::map<std::string, std::string> weight_map;
  VN_ASSIGN(const auto names, weight_files(folder, weight_map));
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    VN_ASSIGN(auto file, MappedFile::open(path));
    VN_ASSIGN(auto header, parse_safetensors(file->bytes(), static_cast<std::int64_t>(file->bytes().size()), path));
    for (TensorEntry& entry : header.entries) {
      const auto mapped = weight_map.find(entry.name);
      if (!weight_map.empty() && (mapped == weight_map.end() || mapped->second != name)) {
        return fail(ErrorCode::mismatch, "{}: holds tensor {}, which the index places in {}", path, entry.name,
                    mapped == weight_map.end() ? "no file" : mapped->second);
      }
      if (!checkpoint->index_.emplace(entry.name, checkpoint->entries_.size()).second) {
        return fail(ErrorCode::invalid, "{}: tensor {} is in two files", folder, entry.name);
      }
      checkpoint->entries_.push_back({std::move(entry), checkpoint->files_.size()});
    }
    checkpoint->data_offsets_.push_back(header.data_offset);
    checkpoint->files_.push_back(std::move(file));
  }
  for (const auto& [name, file] : weight_map) {
    if (!checkpoint->index_.count(name)) {
      return fail(ErrorCode::not_found, "{}/{}: tensor {} is in the index but not in the file", folder, file, name);
    }
  }
  return checkpoint;
}

const Checkpoint::Entry* Checkpoint::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Result<TensorView> Checkpoint::view(const std::string& name) const {
  const Entry* entry = find(name);
  if (!entry) {
    std::vector<std::string> names;
    for (const Entry& e : entries_) names.push_back(e.tensor.name);
    const std::string near = nearest(name, names);
    return with_hint(fail(ErrorCode::not_found, "{}: no tensor {}", folder_, name),
                     near.empty() ? "the checkpoint may be incomplete" : fmt::format("the nearest name is {}", near));
  }
  const TensorEntry& tensor = entry->tensor;
  return TensorView{
      tensor.dtype, tensor.shape,
      files_[entry->file]->bytes().subspan(static_cast<std::size_t>(data_offsets_[entry->file] + tensor.begin),
                                           static_cast<std::size_t>(tensor.bytes()))};
}

void Checkpoint::release(const std::string& name) const {
  if (const Entry* entry = find(name)) files_[entry->file]->release(view(name).value().bytes);
}

void Checkpoint::release_all() const {
  for (const auto& file : files_) file->release_all();
}

std::string Checkpoint::fingerprint() const {
  Fingerprint print;
  print.add(dump_json(config_, -1));
  for (const auto& file : files_) {
    struct stat info {};
    ::stat(file->path().c_str(), &info);
    print.add(file->path().substr(folder_.size())).add(static_cast<std::uint64_t>(info.st_size));
    print.add(static_cast<std::uint64_t>(info.st_mtim.tv_sec)).add(static_cast<std::uint64_t>(info.st_mtim.tv_nsec));
    // The header and the last bytes catch most replacements that keep size and time.
    const auto bytes = file->bytes();
    print.add(bytes.first(std::min<std::size_t>(bytes.size(), 1 << 16)));
    print.add(bytes.last(std::min<std::size_t>(bytes.size(), 1 << 16)));
  }
  return print.hex();
}

}  // namespace vernier
