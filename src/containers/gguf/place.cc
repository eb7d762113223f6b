// Which tensor of the output lies where: one file, or the parts of a split one, each a GGUF file of its own. The first
// part has the metadata; all say which of how many they are.
#include <algorithm>
#include <map>

#include "base/fail.h"
#include "base/log.h"
#include "containers/gguf/metadata.h"
#include "containers/gguf/names.h"
#include "containers/gguf/writer.h"
#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_export.h"

namespace vernier::container_gguf {
namespace {

constexpr std::size_t most_parts = 65535;  // what split.count holds

// A tensor of the file and the weights in it, one an expert where it is a stack.
struct Stack {
  std::string name;
  std::vector<const WeightPlan*> weights;
  bool experts = false;

  GgufTensor tensor() const {
    std::vector<std::int64_t> dims = weights[0]->shape.dims();
    if (experts) dims.insert(dims.begin(), static_cast<std::int64_t>(weights.size()));
    return {name, type_of(*weights[0]), Shape(dims)};
  }
};

Result<std::vector<Stack>> stack_experts(const OutputPlan& plan) {
  std::vector<Stack> stacks;
  std::map<std::string, std::size_t> index;
  for (const WeightPlan& weight : plan.weights) {
    const StoredName stored = *stored_name(weight.name);
    const auto [slot, added] = index.emplace(stored.name, stacks.size());
    if (added) stacks.push_back({stored.name, {}, stored.expert >= 0});
    Stack& stack = stacks[slot->second];
    const std::size_t at = stored.expert < 0 ? 0 : static_cast<std::size_t>(stored.expert);
    if (at > plan.weights.size())
      return fail(ErrorCode::unsupported, "container gguf: {}: experts are not numbered from 0", weight.name);
    if (stack.weights.size() <= at) stack.weights.resize(at + 1);
    stack.weights[at] = &weight;
  }
  for (const Stack& stack : stacks) {
    if (std::find(stack.weights.begin(), stack.weights.end(), nullptr) != stack.weights.end())
      return fail(ErrorCode::mismatch, "container gguf: experts of {} are missing", stack.name);
    for (const WeightPlan* weight : stack.weights)
      if (type_of(*weight) != type_of(*stack.weights[0]) || weight->shape != stack.weights[0]->shape)
        return fail(ErrorCode::unsupported, "container gguf: {}: experts of one stack must be of one type and shape",
                    weight->name);
  }
  std::stable_sort(stacks.begin(), stacks.end(),
                   [](const Stack& a, const Stack& b) { return file_order(a.name) < file_order(b.name); });
  return stacks;
}

// First stacks of the parts: consecutive tensors of at most `most_bytes` (0: any), at least one in each.
std::vector<std::size_t> cut(const std::vector<Stack>& stacks, std::int64_t most_bytes) {
  std::vector<std::size_t> begins{0};
  std::int64_t filled = 0;
  for (std::size_t i = 0; i < stacks.size(); ++i) {
    const std::int64_t bytes = stacks[i].tensor().bytes();
    if (most_bytes > 0 && filled > 0 && filled + bytes > most_bytes) {
      begins.push_back(i);
      filled = 0;
    }
    filled += bytes;
  }
  return begins;
}

void add_stack(const Stack& stack, GgufHeaderWriter& writer, std::vector<TensorEntry>& entries) {
  writer.tensor(stack.tensor());
  std::int64_t begin = writer.tensors().back().offset - writer.small_bytes();
  for (const WeightPlan* weight : stack.weights) {
    TensorEntry entry = layout(*weight)[0];
    entry.begin = begin;
    begin += entry.bytes();
    entries.push_back(std::move(entry));
  }
}

}  // namespace

Result<std::vector<PlacedFile>> place(const OutputPlan& plan) {
  VN_ASSIGN(const std::vector<Stack> stacks, stack_experts(plan));
  const std::vector<std::size_t> begins = cut(stacks, plan.max_shard_bytes);
  if (begins.size() > most_parts)
    return with_hint(
        fail(ErrorCode::unsupported, "container gguf: {} parts, at most {} have a number", begins.size(), most_parts),
        "a larger --max-shard");
  std::vector<GgufHeaderWriter> writers(begins.size());
  VN_TRY(add_metadata(plan, writers[0]));
  const std::string& source = plan.checkpoint->folder();
  if (!is_gguf_path(source) && !has_tokenizer(source))
    log_warn("{}: no tokenizer.json and no tokenizer.model: the GGUF file will have no vocabulary", source);
  const std::size_t tensors = stacks.size() + writers[0].tensors().size();
  std::vector<PlacedFile> files;
  for (std::size_t i = 0; i < begins.size(); ++i) {
    GgufHeaderWriter& writer = writers[i];
    PlacedFile file{"model.gguf", {}};
    if (begins.size() > 1) {
      file.file = fmt::format("model-{:05}-of-{:05}.gguf", i + 1, begins.size());
      writer.u16("split.no", static_cast<std::int64_t>(i));
      writer.u16("split.count", static_cast<std::int64_t>(begins.size()));
      writer.i32("split.tensors.count", static_cast<std::int64_t>(tensors));
    }
    const std::size_t end = i + 1 < begins.size() ? begins[i + 1] : stacks.size();
    for (std::size_t s = begins[i]; s < end; ++s) add_stack(stacks[s], writer, file.plan.entries);
    file.plan.header = writer.header();
    file.plan.data_bytes = writer.data_bytes();
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace vernier::container_gguf
