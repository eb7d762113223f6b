#include "vernier/recipe.h"

#include <filesystem>

#include "base/fail.h"
#include "io/files.h"
#include "methods/method.h"
#include "pipeline/builtin_recipes.h"
#include "pipeline/recipe_schema.h"
#include "pipeline/recipe_set.h"
#include "pipeline/recipe_tree.h"

namespace vernier {
namespace {

using Kind = RecipeNode::Kind;
constexpr std::int64_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kTopElsewhere[] = {"weights", "activations", "transforms", "solver",
                                              "ignore",  "overrides",   "calibration"};
constexpr std::string_view kOverrideElsewhere[] = {"match", "weights"};

Result<std::string> text_of(const RecipeNode& node, std::string_view path) {
  if (node.kind != Kind::scalar || node.text.empty())
    return fail(ErrorCode::invalid, "{}: {}: wanted text, found {}", node.where, path, node.found());
  return node.text;
}

Error at(const std::string& where, Error error) {
  error.message = fmt::format("{}: {}", where, error.message);
  return error;
}

// `node` is {name: {options}}; the choice gets every option of the method, in the schema's order.
Result<MethodChoice> read_method(const RecipeNode& node, MethodDescriptor::Role role) {
  const bool solver = role == MethodDescriptor::Role::solver;
  MethodChoice choice{node.keys[0], {}};
  Result<const MethodDescriptor*> method = find_method(choice.name);
  if (!method.ok()) return at(node.where, std::move(method).take_error());
  if ((*method)->role != role)
    return with_hint(
        fail(ErrorCode::invalid, "{}: {} is not a {}", node.where, choice.name, solver ? "solver" : "transform"),
        solver ? "list it under transforms" : "name it as solver");
  for (std::size_t i = 0; i < node.children[0].keys.size(); ++i) {
    const RecipeNode& option = node.children[0].children[i];
    const std::string& name = node.children[0].keys[i];
    if (option.kind != Kind::scalar)
      return fail(ErrorCode::invalid, "{}: {}.{}: wanted one value, found {}", option.where, choice.name, name,
                  option.found());
    if (Result<Options> alone = resolve_options(**method, {{name, option.text}}); !alone.ok())
      return at(option.where, std::move(alone).take_error());  // with the option's own line
    choice.options.emplace_back(name, option.text);
  }
  Result<Options> options = resolve_options(**method, choice.options);
  if (!options.ok()) return at(node.where, std::move(options).take_error());
  choice.options.clear();
  for (const auto& [name, value] : options->values()) {
    const auto* text = std::get_if<std::string>(&value);
    choice.options.emplace_back(name, text ? *text : option_text(value));
  }
  return choice;
}

void resolve(WeightSpec& weights) {
  weights.symmetric = weights.is_symmetric();
  weights.group = weights.group_size();
}

Status read_overrides(const RecipeNode& list, const WeightSpec& inherited, std::vector<TensorOverride>& out) {
  if (list.kind == Kind::null) return {};
  if (list.kind != Kind::list)
    return fail(ErrorCode::invalid, "{}: overrides: wanted a list, found {}", list.where, list.found());
  for (std::size_t i = 0; i < list.children.size(); ++i) {
    RecipeNode item = list.children[i];
    const std::string path = fmt::format("overrides[{}]", i);
    if (item.kind != Kind::map)
      return fail(ErrorCode::invalid, "{}: {}: wanted match and weights, found {}", item.where, path, item.found());
    for (std::size_t k = 0; k < item.keys.size(); ++k)
      if (item.keys[k] != kOverrideElsewhere[0] && item.keys[k] != kOverrideElsewhere[1])
        return unknown_key(item.children[k].where, path + "." + item.keys[k], {path + ".match", path + ".weights"});
    const RecipeNode* match = item.find("match");
    if (!match) return fail(ErrorCode::invalid, "{}: {}: key \"match\" is missing", item.where, path);
    TensorOverride override{{}, inherited};
    VN_ASSIGN(override.match, text_of(*match, path + ".match"));
    if (const RecipeNode* weights = item.find("weights"))
      VN_TRY(read_section(*weights, path + ".weights.", {}, override.weights));
    resolve(override.weights);
    out.push_back(std::move(override));
  }
  return {};
}

Status read_globs(const RecipeNode& list, std::vector<std::string>& out) {
  out.clear();
  if (list.kind == Kind::null) return {};
  if (list.kind != Kind::list)
    return fail(ErrorCode::invalid, "{}: ignore: wanted a list of patterns, found {}", list.where, list.found());
  for (const RecipeNode& item : list.children) {
    VN_ASSIGN(std::string glob, text_of(item, "ignore"));
    out.push_back(std::move(glob));
  }
  return {};
}

Result<Recipe> read_recipe(RecipeNode& root) {
  Recipe recipe;
  VN_TRY(read_section(root, "", kTopElsewhere, recipe));
  if (const RecipeNode* node = root.find("weights")) VN_TRY(read_section(*node, "weights.", {}, recipe.weights));
  if (const RecipeNode* node = root.find("activations"))
    VN_TRY(read_section(*node, "activations.", {}, recipe.activations));
  if (const RecipeNode* node = root.find("calibration"))
    VN_TRY(read_section(*node, "calibration.", {}, recipe.calibration));
  if (const RecipeNode* node = root.find("ignore")) VN_TRY(read_globs(*node, recipe.ignore));
  if (const RecipeNode* node = root.find("overrides")) VN_TRY(read_overrides(*node, recipe.weights, recipe.overrides));
  if (const RecipeNode* node = root.find("transforms"))
    for (const RecipeNode& item : node->children) {
      VN_ASSIGN(MethodChoice choice, read_method(item, MethodDescriptor::Role::transform));
      recipe.transforms.push_back(std::move(choice));
    }
  if (const RecipeNode* node = root.find("solver")) {
    VN_ASSIGN(recipe.solver, read_method(*node, MethodDescriptor::Role::solver));
  }
  resolve(recipe.weights);
  if (!recipe.activations.dynamic) recipe.activations.granularity = "tensor";
  if (recipe.activations.format == "fp8" && recipe.activations.bits < 16 &&
      (recipe.activations.bits != 8 || !recipe.activations.symmetric))
    return fail(ErrorCode::invalid, "{}: activations: format fp8 wants bits 8 and symmetric true, found {} and {}",
                root.where, recipe.activations.bits, recipe.activations.symmetric);
  return recipe;
}

void write_method(const MethodChoice& choice, const std::string& indent, std::string& out) {
  out += choice.name + ":";
  if (choice.options.empty()) {
    out += " {}\n";
    return;
  }
  out += '\n';
  const Result<const MethodDescriptor*> method = find_method(choice.name);
  for (const auto& [name, text] : choice.options) {
    bool plain = false;
    if (method.ok())
      for (const OptionSchema& option : (*method)->options)
        plain |= option.name == name && !std::holds_alternative<std::string>(option.fallback);
    out += fmt::format("{}{}: {}\n", indent, name, plain ? text : yaml_quoted(text));
  }
}

template <class S>
void write_section(const S& section, const std::string& indent, std::string& out) {
  for (const RecipeKey<S>& key : recipe_section<S>())
    out += fmt::format("{}{}: {}\n", indent, key.name, section_value(key, section));
}

}  // namespace

std::string Recipe::yaml() const {
  std::string out;
  write_section(*this, "", out);
  WeightSpec resolved = weights;
  resolve(resolved);
  out += "weights:\n";
  write_section(resolved, "  ", out);
  out += "activations:\n";
  write_section(activations, "  ", out);
  out += transforms.empty() ? "transforms: []\n" : "transforms:\n";
  for (const MethodChoice& transform : transforms) {
    out += "  - ";
    write_method(transform, "      ", out);
  }
  out += "solver:\n  ";
  write_method(solver, "    ", out);
  out += ignore.empty() ? "ignore: []\n" : "ignore:\n";
  for (const std::string& glob : ignore) out += fmt::format("  - {}\n", yaml_quoted(glob));
  out += overrides.empty() ? "overrides: []\n" : "overrides:\n";
  for (const TensorOverride& override : overrides) {
    resolved = override.weights;
    resolve(resolved);
    out += fmt::format("  - match: {}\n    weights:\n", yaml_quoted(override.match));
    write_section(resolved, "      ", out);
  }
  out += "calibration:\n";
  write_section(calibration, "  ", out);
  return out;
}

Result<Recipe> parse_recipe(std::string_view yaml, std::string_view where, const std::vector<std::string>& sets) {
  VN_ASSIGN(RecipeNode root, parse_recipe_tree(yaml, where));
  if (root.kind != Kind::map)
    return fail(ErrorCode::invalid, "{}: wanted a map of recipe keys, found {}", where, root.found());
  if (!root.find("solver")) root.put("solver", {.kind = Kind::scalar, .text = "rtn", .where = std::string(where)});
  VN_TRY(normalize_methods(root));
  VN_TRY(apply_sets(root, sets));
  return read_recipe(root);
}

Result<Recipe> load_recipe(const std::string& recipe, const std::vector<std::string>& sets) {
  for (const BuiltinRecipe& builtin : builtin_recipes())
    if (builtin.name == recipe) return parse_recipe(builtin.yaml, "recipe " + recipe, sets);
  if (!file_exists(recipe)) {
    const std::string near = nearest(recipe, recipe_names());
    return with_hint(fail(ErrorCode::not_found, "no built-in recipe and no file is called \"{}\"", recipe),
                     near.empty() ? "see `vernier list recipes`" : fmt::format("did you mean \"{}\"?", near));
  }
  VN_ASSIGN(const std::string text, read_text_file(recipe, kMaxFileBytes));
  VN_ASSIGN(Recipe parsed, parse_recipe(text, recipe, sets));
  if (parsed.name.empty()) parsed.name = std::filesystem::path(recipe).stem().string();
  return parsed;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const BuiltinRecipe& builtin : builtin_recipes()) names.emplace_back(builtin.name);
  return names;
}

}  // namespace vernier
