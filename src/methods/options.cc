// Typed access to resolved options, and the registry's search by name.
#include <algorithm>
#include <cassert>

#include "base/fail.h"
#include "io/files.h"
#include "methods/method.h"

namespace vernier {

const OptionValue& Options::at(std::string_view name) const {
  const auto slot = std::find_if(values_.begin(), values_.end(), [&](const auto& v) { return v.first == name; });
  assert(slot != values_.end());
  return slot->second;
}

bool Options::flag(std::string_view name) const { return std::get<bool>(at(name)); }
std::int64_t Options::integer(std::string_view name) const { return std::get<std::int64_t>(at(name)); }
double Options::number(std::string_view name) const { return std::get<double>(at(name)); }
const std::string& Options::text(std::string_view name) const { return std::get<std::string>(at(name)); }

Result<const MethodDescriptor*> find_method(std::string_view name) {
  std::vector<std::string> known;
  for (const MethodDescriptor* method : methods()) {
    if (method->name == name) return method;
    known.emplace_back(method->name);
  }
  const std::string near = nearest(name, known);
  return with_hint(fail(ErrorCode::not_found, "unknown method '{}'", name),
                   near.empty() ? fmt::format("known methods: {}", fmt::join(known, ", "))
                                : fmt::format("did you mean '{}'?", near));
}

}  // namespace vernier
