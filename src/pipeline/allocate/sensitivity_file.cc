#include "pipeline/allocate/sensitivity_file.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/hash.h"
#include "io/files.h"

namespace vernier {
namespace {

const Json* member(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found == json.end() ? nullptr : &*found;
}

// The tensor of a line and what it says of its candidates; nothing where it is no such line.
std::optional<std::pair<std::size_t, std::vector<Sensitivity>>> line_from(const Json& json,
                                                                          std::span<const AllocatedTensor> tensors) {
  const Json *name = member(json, "name"), *candidates = member(json, "candidates");
  if (!name || !name->is_string() || !candidates || !candidates->is_array()) return std::nullopt;
  const auto tensor = std::find_if(tensors.begin(), tensors.end(), [&](const AllocatedTensor& t) {
    return t.name == name->get_ref<const std::string&>();
  });
  if (tensor == tensors.end() || tensor->candidates.size() != candidates->size()) return std::nullopt;
  std::vector<Sensitivity> found;
  for (const Json& candidate : *candidates) {
    const Json *grid = member(candidate, "grid"), *cost = member(candidate, "cost"),
               *error = member(candidate, "error"), *measured = member(candidate, "measured");
    if (!grid || *grid != tensor->candidates[found.size()].grid.text() || !cost || !cost->is_number() || !error ||
        !error->is_number() || !measured || !measured->is_boolean())
      return std::nullopt;
    found.push_back({cost->get<double>(), error->get<double>(), measured->get<bool>()});
  }
  return std::pair(static_cast<std::size_t>(tensor - tensors.begin()), std::move(found));
}

}  // namespace

Result<SensitivityFile> SensitivityFile::open(const std::string& path, Json identity,
                                              std::span<const AllocatedTensor> tensors) {
  SensitivityFile file;
  file.path_ = path;
  file.identity_ = std::move(identity);
  file.tensors_ = tensors;
  file.known_.resize(tensors.size());
  if (!file_exists(path)) return file;
  VN_ASSIGN(const std::string text, read_text_file(path));
  std::size_t intact = 0;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = parse_json(std::string_view(text).substr(begin, end - begin), path);
    if (!line.ok() || !line->is_object()) break;
    if (begin == 0) {
      if (*line != file.identity_) return file;
      file.matches_ = true;
    } else {
      auto found = line_from(*line, tensors);
      if (!found) break;
      file.known_[found->first] = std::move(found->second);
    }
    intact = end + 1;
  }
  if (file.matches_ && intact < text.size()) VN_TRY(write_file_atomic(path, std::string_view(text).substr(0, intact)));
  return file;
}

bool SensitivityFile::complete() const {
  for (std::size_t t = 0; t < known_.size(); ++t)
    if (tensors_[t].candidates.size() > 1 && known_[t].empty()) return false;
  return true;
}

Status SensitivityFile::append(std::size_t tensor, std::vector<Sensitivity> found) {
  if (!matches_) {
    VN_TRY(write_file_atomic(path_, dump_json(identity_, -1) + "\n"));
    matches_ = true;
  }
  Json line = {{"name", tensors_[tensor].name}, {"candidates", Json::array()}};
  for (std::size_t c = 0; c < found.size(); ++c) {
    const CandidateGrid& candidate = tensors_[tensor].candidates[c];
    line["candidates"].push_back({{"grid", candidate.grid.text()},
                                  {"bits", candidate.bits},
                                  {"cost", found[c].cost},
                                  {"error", found[c].error},
                                  {"measured", found[c].measured}});
  }
  VN_TRY(append_durable(path_, dump_json(line, -1) + "\n"));
  known_[tensor] = std::move(found);
  return {};
}

std::string SensitivityFile::fingerprint() const {
  Fingerprint print;
  print.add(dump_json(identity_, -1));
  for (const std::vector<Sensitivity>& tensor : known_)
    for (const Sensitivity& candidate : tensor) print.add(std::bit_cast<std::uint64_t>(candidate.cost));
  return print.hex();
}

}  // namespace vernier
