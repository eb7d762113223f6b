// Checkpoints that bitsandbytes quantized, read only (handbook, formats, "bitsandbytes in safetensors"). Weights stay
// mapped and are expanded a few rows at a time; outlier columns of LLM.int8 exist at run time only and are not
// modelled.
#include "containers/container.h"
#include "base/fail.h"
#include "containers/bitsandbytes/matrix.h"
#include "containers/stored_source.h"

namespace vernier {
namespace {

constexpr std::string_view kStates[] = {".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"};
constexpr std::string_view kRowScale = ".SCB";

bool recognizes(const Json& config) { return quant_method(config) == "bitsandbytes"; }

// What config.json says of the weights, as far as it says it.
struct Declared {
  bool four_bits = false, eight_bits = false;
  std::string where;
};

Result<Declared> parse(const Checkpoint& checkpoint) {
  Declared declared;
  declared.where = checkpoint.folder() + "/config.json: quantization_config";
  const Json& quantization = checkpoint.config().at("quantization_config");
  const auto flag = [&](const char* key) {
    const auto found = quantization.find(key);
    return found != quantization.end() && found->is_boolean() && found->get<bool>();
  };
  declared.four_bits = flag("load_in_4bit") || flag("_load_in_4bit");
  declared.eight_bits = flag("load_in_8bit") || flag("_load_in_8bit");
  if (declared.four_bits == declared.eight_bits)
    return fail(ErrorCode::invalid, "{}: wanted either load_in_4bit or load_in_8bit", declared.where);
  return declared;
}

void add(LogicalTensor& logical, const Checkpoint& checkpoint, const std::vector<std::string>& names) {
  logical.stored = names;
  for (const std::string& name : names) logical.info.stored_bytes += checkpoint.find(name)->tensor.bytes();
}

Result<std::unique_ptr<ModelSource>> open(std::unique_ptr<Checkpoint> checkpoint) {
  VN_ASSIGN(const Declared declared, parse(*checkpoint));
  VN_ASSIGN(ModelGraph graph, graph_of(*checkpoint));
  std::vector<LogicalTensor> tensors;
  std::unordered_set<std::string> claimed;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    LogicalTensor logical;
    const std::string& stored = entry.tensor.name;
    for (const std::string_view state : kStates) {
      if (!declared.four_bits || !stored.ends_with(state)) continue;
      const std::string weight = stored.substr(0, stored.size() - state.size());
      VN_ASSIGN(const auto found, bitsandbytes::find_nibbles(*checkpoint, weight, stored));
      logical.info = {weight, Shape{found.rows, found.cols}, found.kind};
      logical.open = [found](const Checkpoint& from) { return bitsandbytes::open_nibbles(from, found); };
      add(logical, *checkpoint, found.names);
    }
    if (declared.eight_bits && stored.ends_with(kRowScale)) {
      const std::string module = stored.substr(0, stored.size() - kRowScale.size());
      VN_ASSIGN(const auto found, bitsandbytes::find_rows(*checkpoint, module));
      logical.info = {module + ".weight", Shape{found.rows, found.cols}, "int8 (bitsandbytes)"};
      logical.open = [found](const Checkpoint& from) { return bitsandbytes::open_rows(from, found); };
      add(logical, *checkpoint, found.names);
    }
    if (!logical.open) continue;
    claimed.insert(logical.stored.begin(), logical.stored.end());
    tensors.push_back(std::move(logical));
  }
  if (tensors.empty())
    return with_hint(fail(ErrorCode::mismatch, "{} says {} bits, but no weight is stored so", declared.where,
                          declared.four_bits ? 4 : 8),
                     "config.json and the weights must come from one run; a checkpoint that is only to be quantized on "
                     "load is a float one: drop the key");
  append_plain_tensors(*checkpoint, claimed, tensors);
  return StoredSource::make(std::move(checkpoint), std::move(graph), "bitsandbytes", std::move(tensors));
}

}  // namespace

namespace units {
extern const ContainerDescriptor container_bitsandbytes;
const ContainerDescriptor container_bitsandbytes{
    .name = "bitsandbytes",
    .summary = "checkpoints of bitsandbytes",
    .also_reads = "NF4 and FP4 in blocks, with plain and quantized scales; int8 rows",
    .accepts = nullptr,
    .layout = nullptr,
    .encode = nullptr,
    .config = nullptr,
    .recognizes = recognizes,
    .open = open};
}  // namespace units
}  // namespace vernier
