#include "arch/architecture.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"

namespace vernier {
namespace {

constexpr std::size_t kShownCharacters = 60;

std::string shown(const Json* value) {
  if (value == nullptr) return "nothing";
  std::string text = dump_json(*value, -1);
  if (text.size() > kShownCharacters) text = text.substr(0, kShownCharacters) + "...";
  return text;
}

std::string known_architectures() {
  std::string known;
  for (const ArchitectureDescriptor* a : architectures())
    for (std::string_view type : a->model_types) known += (known.empty() ? "" : ", ") + std::string(type);
  return known;
}

}  // namespace

const Json* ConfigReader::find(std::string_view key) const {
  const auto found = config_.find(key);
  return found == config_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::states(std::string_view key) const { return config_.find(key) != config_.end(); }

Error ConfigReader::refuse(std::string_view key, std::string_view wanted) const {
  return fail(ErrorCode::unsupported, "{}: {}: wanted {}, found {}", where_, key, wanted, shown(find(key)));
}

Result<std::int64_t> ConfigReader::integer(std::string_view key) const {
  const Json* value = find(key);
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (value != nullptr && value->is_number_unsigned() && value->get<std::uint64_t>() <= kMax)
    return value->get<std::int64_t>();
  if (value != nullptr && value->is_number_integer() && !value->is_number_unsigned() && value->get<std::int64_t>() >= 0)
    return value->get<std::int64_t>();
  return fail(value ? ErrorCode::invalid : ErrorCode::not_found, "{}: {}: wanted an integer >= 0, found {}", where_,
              key, shown(value));
}

Result<std::int64_t> ConfigReader::integer(std::string_view key, std::int64_t fallback) const {
  if (find(key) == nullptr) return fallback;
  return integer(key);
}

Result<std::int64_t> ConfigReader::size(std::string_view key, std::int64_t limit, std::int64_t fallback) const {
  if (find(key) == nullptr && fallback > 0) return fallback;
  VN_ASSIGN(const std::int64_t value, integer(key));
  if (value < 1 || value > limit)
    return fail(ErrorCode::invalid, "{}: {}: wanted 1 .. {}, found {}", where_, key, limit, value);
  return value;
}

Result<double> ConfigReader::number(std::string_view key, double fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  return fail(ErrorCode::invalid, "{}: {}: wanted a number, found {}", where_, key, shown(value));
}

Result<bool> ConfigReader::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  return fail(ErrorCode::invalid, "{}: {}: wanted true or false, found {}", where_, key, shown(value));
}

Result<std::string> ConfigReader::string(std::string_view key, std::string fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  return fail(ErrorCode::invalid, "{}: {}: wanted a string, found {}", where_, key, shown(value));
}

Result<const ArchitectureDescriptor*> find_architecture(const Json& config, const std::string& where) {
  const ConfigReader reader(config, where);
  VN_ASSIGN(const std::string type, reader.string("model_type", ""));
  for (const ArchitectureDescriptor* a : architectures())
    if (std::find(a->model_types.begin(), a->model_types.end(), type) != a->model_types.end()) return a;
  return with_hint(reader.refuse("model_type", "one of " + known_architectures()),
                   "weight-only round to nearest selects tensors by pattern and needs no known architecture");
}

Result<ModelGraph> build_model_graph(const Json& config, const std::string& where) {
  VN_ASSIGN(const ArchitectureDescriptor* architecture, find_architecture(config, where));
  VN_ASSIGN(ModelGraph model, architecture->build(ConfigReader(config, where)));
  VN_TRY(model.validate());
  return model;
}

}  // namespace vernier
