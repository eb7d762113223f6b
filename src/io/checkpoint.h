// A Hugging Face folder: config.json, and model.safetensors or an index of shards, memory-mapped. Or a GGUF file
// (io/gguf/checkpoint.h).
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "io/safetensors.h"

namespace vernier {

class Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(const std::string& path);

  // Tensors in mapped files, each entry's file and its offset from the start of the file known. `path`: what errors
  // and fingerprints call the checkpoint.
  static std::unique_ptr<Checkpoint> assemble(std::string path, Json config,
                                              std::vector<std::shared_ptr<const MappedFile>> files,
                                              std::vector<std::pair<TensorEntry, std::size_t>> entries);

  const std::string& folder() const { return folder_; }  // or the GGUF file
  const Json& config() const { return config_; }         // the whole of config.json; an object

  // Tensors in the order of files, then offsets.
  struct Entry {
    TensorEntry tensor;
    std::size_t file = 0;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  const Entry* find(const std::string& name) const;

  Result<TensorView> view(const std::string& name) const;  // not_found names the folder and the nearest name
  void release(const std::string& name) const;             // gives the tensor's mapped pages back
  void release_all() const;
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

  // Names, sizes and mtimes of config and weight files, for journals.
  std::string fingerprint() const;

 private:
  Checkpoint() = default;
  std::string folder_;
  Json config_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<std::int64_t> data_offsets_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace vernier
