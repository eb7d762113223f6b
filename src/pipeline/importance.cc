#include "pipeline/importance.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "base/hash.h"
#include "containers/gguf/names.h"

namespace vernier {
namespace {

// What a model wants of a file, by entry.
struct Wanted {
  std::int64_t columns = 0, matrices = 0;
};

std::string fingerprint_of(const ImportanceFile& file) {
  Fingerprint print;
  for (const ImportanceEntry& entry : file.entries)
    print.add(entry.name).add(std::as_bytes(std::span(entry.sums))).add(std::as_bytes(std::span(entry.counts)));
  return print.hex();
}

std::set<std::string> block_linears(const ModelGraph& graph) {
  std::set<std::string> names;
  for (const Graph& block : graph.blocks)
    for (const Op& op : block.ops)
      if (op.kind == OpKind::linear) names.insert(block.tensors[op.weight].name);
  return names;
}

Status check_entry(const std::string& path, const ImportanceEntry& entry, const std::map<std::string, Wanted>& wanted) {
  const auto place = wanted.find(entry.name);
  if (place == wanted.end())
    return with_hint(fail(ErrorCode::mismatch, "{}: entry {} is of no weight of this model", path, entry.name),
                     "an importance matrix belongs to the model it was made with");
  const auto [columns, matrices] = place->second;
  const auto counts = static_cast<std::int64_t>(entry.counts.size());
  if (static_cast<std::int64_t>(entry.sums.size()) == columns * matrices && (counts == matrices || counts == 1))
    return {};
  return with_hint(fail(ErrorCode::mismatch, "{}: entry {}: wanted {} sums for {} x {} columns, found {} in {}", path,
                        entry.name, columns * matrices, matrices, columns, entry.sums.size(), counts),
                   "an importance matrix belongs to the model it was made with");
}

}  // namespace

ImportancePlace importance_place(const std::string& weight) {
  const auto stored = container_gguf::stored_name(weight);
  if (!stored) return {weight, -1};
  return {stored->name, stored->expert};
}

Result<Importance> load_importance(const std::string& path, std::span<const WeightPlan> weights,
                                   const ModelGraph* graph) {
  VN_ASSIGN(const ImportanceFile file, read_imatrix(path));
  std::map<std::string, Wanted> wanted;
  for (const WeightPlan& weight : weights) {
    if (weight.shape.rank() != 2) continue;
    const ImportancePlace place = importance_place(weight.name);
    Wanted& entry = wanted[place.entry];
    entry.columns = weight.shape[1];
    entry.matrices = std::max(entry.matrices, std::max<std::int64_t>(place.matrix, 0) + 1);
  }
  std::map<std::string_view, const ImportanceEntry*> entries;
  for (const ImportanceEntry& entry : file.entries) {
    VN_TRY(check_entry(path, entry, wanted));
    entries[entry.name] = &entry;
  }
  const std::set<std::string> linears = graph ? block_linears(*graph) : std::set<std::string>{};
  Importance importance;
  importance.fingerprint = fingerprint_of(file);
  for (const WeightPlan& weight : weights) {
    if (!weight.grid || weight.shape.rank() != 2) continue;
    const ImportancePlace place = importance_place(weight.name);
    const auto entry = entries.find(place.entry);
    if (entry != entries.end())
      importance.of_weight[weight.name] =
          entry->second->means(std::max<std::int64_t>(place.matrix, 0), wanted[place.entry].matrices);
    else if (!graph || linears.contains(weight.name))
      return with_hint(
          fail(ErrorCode::mismatch, "{}: wanted an entry {} for weight {}, found none", path, place.entry, weight.name),
          "make one from this model: vernier imatrix MODEL -o FILE");
  }
  return importance;
}

}  // namespace vernier
