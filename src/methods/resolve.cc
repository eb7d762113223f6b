#include <algorithm>
#include <charconv>

#include "base/fail.h"
#include "io/files.h"
#include "methods/method.h"

namespace vernier {
namespace {

std::string_view type_name(const OptionValue& value) {
  constexpr std::string_view names[] = {"true or false", "a whole number", "a number", "a word"};
  return names[value.index()];
}

// `text` as the type of `like`; nothing when it is not one.
std::optional<OptionValue> parse_as(const OptionValue& like, const std::string& text) {
  const char* const end = text.data() + text.size();
  if (std::holds_alternative<bool>(like)) {
    if (text == "true" || text == "yes" || text == "on") return OptionValue(true);
    if (text == "false" || text == "no" || text == "off") return OptionValue(false);
    return std::nullopt;
  }
  if (std::holds_alternative<std::int64_t>(like)) {
    std::int64_t value = 0;
    const auto [stop, problem] = std::from_chars(text.data(), end, value);
    if (problem != std::errc{} || stop != end) return std::nullopt;
    return OptionValue(value);
  }
  if (std::holds_alternative<double>(like)) {
    double value = 0;
    const auto [stop, problem] = std::from_chars(text.data(), end, value);
    if (problem != std::errc{} || stop != end) return std::nullopt;
    return OptionValue(value);
  }
  return OptionValue(text);
}

}  // namespace

Result<Options> resolve_options(const MethodDescriptor& method,
                                const std::vector<std::pair<std::string, std::string>>& given) {
  std::vector<std::pair<std::string, OptionValue>> values;
  for (const OptionSchema& option : method.options) values.emplace_back(option.name, option.fallback);
  for (const auto& choice : given) {
    const std::string &name = choice.first, &text = choice.second;
    const auto slot = std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == name; });
    if (slot == values.end()) {
      std::vector<std::string> names;
      for (const auto& value : values) names.push_back(value.first);
      const std::string near = nearest(name, names);
      return with_hint(fail(ErrorCode::invalid, "{} has no option \"{}\"", method.name, name),
                       near.empty() ? fmt::format("its options: {}", fmt::join(names, ", "))
                                    : fmt::format("did you mean \"{}\"?", near));
    }
    const OptionSchema& schema = method.options[static_cast<std::size_t>(slot - values.begin())];
    const auto value = parse_as(schema.fallback, text);
    if (!value) {
      return fail(ErrorCode::invalid, "{}.{}: wanted {}, found \"{}\"", method.name, name, type_name(schema.fallback),
                  text);
    }
    if (!schema.choices.empty() &&
        std::find(schema.choices.begin(), schema.choices.end(), text) == schema.choices.end()) {
      return fail(ErrorCode::invalid, "{}.{}: wanted one of {}, found \"{}\"", method.name, name,
                  fmt::join(schema.choices, ", "), text);
    }
    slot->second = *value;
  }
  Options options(std::move(values));
  if (method.validate) VN_TRY(method.validate(options));
  return options;
}

}  // namespace vernier
