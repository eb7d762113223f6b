#include "io/tokenizer/component.h"

namespace vernier {
namespace {

constexpr int max_sequence_depth = 8;
constexpr std::size_t max_components = 64;

Status flatten_into(const JsonTree& json, std::string_view list, const std::string& where, int depth,
                    std::vector<Component>& out) {
  const Component component(json, where);
  if (!component.is_object())
    return fail(ErrorCode::invalid, "{}: expected an object, found {}", where, json.type_name());
  VN_ASSIGN(const std::string type, component.type());
  if (type != "Sequence") {
    if (out.size() == max_components)
      return fail(ErrorCode::unsupported, "{}: more than {} components", where, max_components);
    out.push_back(component);
    return {};
  }
  if (depth == max_sequence_depth) {
    return fail(ErrorCode::unsupported, "{}: sequences nested deeper than {}", where, max_sequence_depth);
  }
  const JsonTree* members = component.find(list);
  if (!members || !members->is_array()) return component.wrong(list, "a list");
  for (std::size_t i = 0; i < members->size(); ++i) {
    VN_TRY(flatten_into((*members)[i], list, fmt::format("{}[{}]", where, i), depth + 1, out));
  }
  return {};
}

}  // namespace

const JsonTree* Component::find(std::string_view key) const {
  if (!json_->is_object()) return nullptr;
  const auto it = json_->find(std::string(key));
  return it == json_->end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> Component::text(std::string_view key) const {
  const JsonTree* value = find(key);
  if (!value || !value->is_string()) return wrong(key, "a string");
  return value->get<std::string>();
}

Result<std::string> Component::text(std::string_view key, std::string_view fallback) const {
  if (!find(key)) return std::string(fallback);
  return text(key);
}

Result<bool> Component::flag(std::string_view key, bool fallback) const {
  const JsonTree* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) return wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::int64_t> Component::integer(std::string_view key) const {
  const JsonTree* value = find(key);
  if (!value || !value->is_number_integer()) return wrong(key, "an integer");
  return value->get<std::int64_t>();
}

Error Component::wrong(std::string_view key, std::string_view wanted) const {
  const JsonTree* value = find(key);
  return fail(ErrorCode::invalid, "{}: \"{}\" should be {}, found {}", where_, key, wanted,
              value ? value->type_name() : "nothing");
}

Error Component::unsupported(std::string_view what) const {
  return fail(ErrorCode::unsupported, "{}: {} is not supported", where_, what);
}

Result<std::vector<Component>> flatten_sequence(const JsonTree& json, std::string_view list, const std::string& where) {
  std::vector<Component> out;
  if (!json.is_null()) VN_TRY(flatten_into(json, list, where, 0, out));
  return out;
}

}  // namespace vernier
