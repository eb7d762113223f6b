#include "pipeline/recipe_schema.h"

#include <algorithm>
#include <charconv>
#include <type_traits>

#include "base/fail.h"
#include "io/files.h"

namespace vernier {
namespace {

constexpr RecipeLimits kCount{1, 1 << 24};

template <class S>
using Keys = std::vector<RecipeKey<S>>;

const Keys<WeightSpec>& keys(const WeightSpec*) {
  using S = WeightSpec;
  static const Keys<S> table{
      {"format", &S::format, "codec of the weights; see `vernier list formats`"},
      {"bits", &S::bits, "bits of one code; 16 keeps the tensor as it is", {2, 8, 16}},
      {"symmetric", &S::symmetric, "no zero point; default: at 4 bits and above"},
      {"group", &S::group, "columns that share a scale; default: 128 at 4 bits and above, 64 below", kCount},
      {"group_rows", &S::group_rows, "rows that share a scale, too, where the format has blocks", kCount},
      {"scale_dtype",
       &S::scale_dtype,
       "stored type of scales; auto: the format's own, else bf16 for bf16 models and f16 for others",
       {},
       {"auto", "f16", "bf16", "f32"}},
      {"range", &S::range, "where scales come from", {}, {"minmax", "percentile", "mse", "search"}},
      {"percentile", &S::percentile, "range percentile: of |w| in a group", {50, 100}},
      {"mse_grid", &S::mse_grid, "range mse: steps of the shrink grid over the whole range", {2, 10000}},
      {"mse_max_shrink", &S::mse_max_shrink, "range mse: largest part taken off the range", {0, 1}},
      {"mse_norm", &S::mse_norm, "range mse: exponent of the error", {0.5, 10}},
  };
  return table;
}

const Keys<ActivationRecipe>& keys(const ActivationRecipe*) {
  using S = ActivationRecipe;
  static const Keys<S> table{
      {"bits", &S::bits, "bits of a linear's input; 16 leaves it in float", {4, 8, 16}},
      {"format", &S::format, "codec of a linear's input; fp8 takes bits 8 and is symmetric", {}, {"int", "fp8"}},
      {"symmetric", &S::symmetric, "no zero point"},
      {"dynamic", &S::dynamic, "scales measured at run time; false: from calibration, one for the tensor"},
      {"granularity",
       &S::granularity,
       "what shares a scale; static scales are always per tensor",
       {},
       {"token", "tensor"}},
      {"group", &S::group, "columns of a token that share a dynamic scale; 0: all", {0, 1 << 24}},
      {"range", &S::range, "where static scales come from", {}, {"minmax", "percentile"}},
      {"percentile", &S::percentile, "range percentile: of |x|", {50, 100}},
  };
  return table;
}

const Keys<Recipe::Calibration>& keys(const Recipe::Calibration*) {
  using S = Recipe::Calibration;
  static const Keys<S> table{
      {"samples", &S::samples, "sequences", kCount},
      {"ctx", &S::ctx, "tokens of one sequence", {2, 1 << 20}},
      {"seed", &S::seed, "of the choice of sequences", {0, 0x1p53}},
      {"true_sequential", &S::true_sequential, "later linears of a block see quantized earlier ones"},
      {"propagate", &S::propagate, "later blocks see quantized earlier ones"},
      {"spill", &S::spill, "element type of activations between passes", {}, {"bf16", "f32"}},
  };
  return table;
}

const Keys<Recipe>& keys(const Recipe*) {
  using S = Recipe;
  static const Keys<S> table{
      {"name", &S::name, "what the recipe is called"},
      {"summary", &S::summary, "one line about it"},
      {"source", &S::source, "paper or project it follows"},
      {"compute", &S::compute, "products of the calibration forward", {}, {"f32", "bf16"}},
      {"target_bpw",
       &S::target_bpw,
       "bits per quantized weight, scales included: grids are chosen tensor by tensor; 0: as weights says",
       {1, 16, 0}},
      {"sensitivity",
       &S::sensitivity,
       "costs of target_bpw: kl of the model with one tensor quantized, proxies from Hessians, or kl for small models",
       {},
       {"auto", "kl", "hessian"}},
  };
  return table;
}

std::string join(std::span<const std::string_view> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + std::string(words[i]);
  return text;
}

std::string range_text(const RecipeLimits& limits) {
  const RecipeLimits open;
  std::string text;
  if (limits.low != open.low) text += fmt::format(" from {} to {}", limits.low, limits.high);
  if (limits.also) text += fmt::format(", or {}", *limits.also);
  return text;
}

// What a value of type T is called in messages.
template <class T>
std::string wanted_text(const RecipeLimits& limits, std::span<const std::string_view> choices) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::optional<bool>>)
    return "true or false";
  else if constexpr (std::is_same_v<T, std::string>)
    return choices.empty() ? "text" : join(choices);
  else if constexpr (std::is_same_v<T, std::optional<std::int64_t>>)
    return "a number of columns" + range_text(limits) + ", channel or tensor";
  else if constexpr (std::is_same_v<T, double>)
    return "a number" + range_text(limits);
  else
    return "an integer" + range_text(limits);
}

bool allowed(double value, const RecipeLimits& limits) {
  return (value >= limits.low && value <= limits.high) || (limits.also && value == *limits.also);
}

template <class T>
bool parse_number(const RecipeNode& node, const RecipeLimits& limits, T& out) {
  const char* end = node.text.data() + node.text.size();
  const auto [stop, error] = std::from_chars(node.text.data(), end, out);
  return !node.quoted && error == std::errc() && stop == end && allowed(static_cast<double>(out), limits);
}

bool parse_value(const RecipeNode& node, const RecipeLimits&, std::span<const std::string_view>, bool& out) {
  out = node.text == "true";
  return !node.quoted && (out || node.text == "false");
}
bool parse_value(const RecipeNode& node, const RecipeLimits&, std::span<const std::string_view> choices,
                 std::string& out) {
  out = node.text;
  return choices.empty() || std::find(choices.begin(), choices.end(), out) != choices.end();
}
bool parse_value(const RecipeNode& node, const RecipeLimits& limits, std::span<const std::string_view> choices,
                 std::optional<bool>& out) {
  return parse_value(node, limits, choices, out.emplace());
}
bool parse_value(const RecipeNode& node, const RecipeLimits& limits, std::span<const std::string_view>,
                 std::optional<std::int64_t>& out) {
  if (node.text == "channel" || node.text == "tensor") {
    out = node.text == "channel" ? 0 : -1;
    return true;
  }
  return parse_number(node, limits, out.emplace());
}
template <class T>
requires std::is_arithmetic_v<T>
bool parse_value(const RecipeNode& node, const RecipeLimits& limits, std::span<const std::string_view>, T& out) {
  return parse_number(node, limits, out);
}

template <class T>
Result<T> typed(const RecipeNode& node, std::string_view path, const RecipeLimits& limits,
                std::span<const std::string_view> choices) {
  T value{};
  if (node.kind != RecipeNode::Kind::scalar || !parse_value(node, limits, choices, value))
    return fail(ErrorCode::invalid, "{}: {}: wanted {}, found {}", node.where, path, wanted_text<T>(limits, choices),
                node.found());
  return value;
}

template <class T>
std::string value_text(const T& value) {
  if constexpr (std::is_same_v<T, std::string>)
    return yaml_quoted(value);
  else if constexpr (std::is_same_v<T, std::optional<bool>>)
    return fmt::format("{}", value.value_or(false));
  else if constexpr (std::is_same_v<T, std::optional<std::int64_t>>)
    return value.value_or(0) == 0 ? "channel" : *value == -1 ? "tensor" : fmt::format("{}", *value);
  else
    return fmt::format("{}", value);
}

template <class S>
std::vector<std::string> known_keys(const std::string& path, std::span<const std::string_view> elsewhere) {
  std::vector<std::string> known;
  for (const RecipeKey<S>& key : recipe_section<S>()) known.push_back(path + std::string(key.name));
  for (const std::string_view key : elsewhere) known.push_back(path + std::string(key));
  return known;
}

template <class S>
void add_help(const std::string& path, const S& defaults, std::vector<RecipeKeyHelp>& out) {
  for (const RecipeKey<S>& key : recipe_section<S>()) {
    const std::string wanted = std::visit(
        [&](auto member) {
          return wanted_text<std::remove_cvref_t<decltype(defaults.*member)>>(key.limits, key.choices);
        },
        key.field);
    out.push_back({path + std::string(key.name), wanted, section_value(key, defaults), std::string(key.help)});
  }
}

}  // namespace

template <class S>
std::span<const RecipeKey<S>> recipe_section() {
  return keys(static_cast<const S*>(nullptr));
}

template <class S>
Status read_section(const RecipeNode& map, const std::string& path, std::span<const std::string_view> elsewhere,
                    S& out) {
  if (map.kind != RecipeNode::Kind::map)
    return fail(ErrorCode::invalid, "{}: {}: wanted a map of keys, found {}", map.where,
                path.empty() ? "the recipe" : path.substr(0, path.size() - 1), map.found());
  const std::span<const RecipeKey<S>> section = recipe_section<S>();
  for (std::size_t i = 0; i < map.keys.size(); ++i) {
    const std::string& name = map.keys[i];
    const RecipeNode& node = map.children[i];
    if (std::find(elsewhere.begin(), elsewhere.end(), name) != elsewhere.end()) continue;
    const auto key = std::find_if(section.begin(), section.end(), [&](const auto& k) { return k.name == name; });
    if (key == section.end()) return unknown_key(node.where, path + name, known_keys<S>(path, elsewhere));
    VN_TRY(std::visit(
        [&](auto member) -> Status {
          using T = std::remove_cvref_t<decltype(out.*member)>;
          VN_ASSIGN(out.*member, typed<T>(node, path + name, key->limits, key->choices));
          return {};
        },
        key->field));
  }
  return {};
}

template <class S>
std::string section_value(const RecipeKey<S>& key, const S& section) {
  return std::visit([&](auto member) { return value_text(section.*member); }, key.field);
}

#define VN_SECTION(S)                                                                                            \
  template std::span<const RecipeKey<S>> recipe_section<S>();                                                    \
  template Status read_section<S>(const RecipeNode&, const std::string&, std::span<const std::string_view>, S&); \
  template std::string section_value<S>(const RecipeKey<S>&, const S&)
VN_SECTION(WeightSpec);
VN_SECTION(ActivationRecipe);
VN_SECTION(Recipe::Calibration);
VN_SECTION(Recipe);
#undef VN_SECTION

std::vector<RecipeKeyHelp> recipe_keys() {
  std::vector<RecipeKeyHelp> out;
  Recipe defaults;
  defaults.weights.symmetric = defaults.weights.is_symmetric();
  defaults.weights.group = defaults.weights.group_size();
  add_help("", defaults, out);
  add_help("weights.", defaults.weights, out);
  add_help("activations.", defaults.activations, out);
  add_help("calibration.", defaults.calibration, out);
  return out;
}

std::string option_text(const OptionValue& value) {
  return std::visit([](const auto& v) { return value_text(v); }, value);
}

Error unknown_key(const std::string& where, const std::string& key, const std::vector<std::string>& known) {
  Error error = fail(ErrorCode::invalid, "{}: unknown key \"{}\"", where, key);
  std::string near = nearest(key, known);
  for (const RecipeKeyHelp& k : recipe_keys())  // the right key in the wrong section
    if (k.path.ends_with("." + key)) {
      near = k.path;
      break;
    }
  if (!near.empty()) {
    error.hint = fmt::format("did you mean \"{}\"?", near);
  } else if (!known.empty()) {
    std::vector<std::string_view> words(known.begin(), known.end());
    error.hint = fmt::format("known here: {}", join(words));
  }
  return error;
}

std::string yaml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out + '"';
}

}  // namespace vernier
