// The stored tensors of one module, held to what is wanted of them.
#pragma once

#include <string>
#include <vector>

#include "base/fail.h"
#include "io/checkpoint.h"

namespace vernier::compressed_tensors {

class Finder {
 public:
  Finder(const Checkpoint& checkpoint, const std::string& module) : checkpoint_(checkpoint), module_(module) {}

  bool has(std::string_view suffix) const { return checkpoint_.find(full(suffix)) != nullptr; }
  Result<const TensorEntry*> get(std::string_view suffix) {
    VN_TRY(checkpoint_.view(full(suffix)));  // names the nearest when missing
    names.push_back(full(suffix));
    return &checkpoint_.find(names.back())->tensor;
  }
  Result<const TensorEntry*> get(std::string_view suffix, DType dtype) {
    VN_ASSIGN(const TensorEntry* entry, get(suffix));
    if (entry->dtype != dtype) return wrong(*entry, fmt::format("{}", vernier::name(dtype)));
    return entry;
  }
  Error wrong(const TensorEntry& entry, const std::string& wanted) const {
    return with_hint(fail(ErrorCode::mismatch, "{}: tensor {} is {} {}, wanted {}", checkpoint_.folder(), entry.name,
                          vernier::name(entry.dtype), entry.shape.text(), wanted),
                     "config.json and the weights must come from one run");
  }
  std::string full(std::string_view suffix) const { return module_ + std::string(suffix); }

  std::vector<std::string> names;  // of what get() found

 private:
  const Checkpoint& checkpoint_;
  const std::string& module_;
};

}  // namespace vernier::compressed_tensors
