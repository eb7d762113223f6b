#include "pipeline/recipe_set.h"

#include <algorithm>

#include "base/fail.h"
#include "methods/method.h"
#include "pipeline/recipe_schema.h"

namespace vernier {
namespace {

using Kind = RecipeNode::Kind;

RecipeNode empty_map(const std::string& where) { return {.kind = Kind::map, .where = where}; }

// `node` as {name: {options}}.
Status normalize_method(RecipeNode& node) {
  if (node.kind == Kind::scalar) {
    RecipeNode map = empty_map(node.where);
    map.put(node.text, empty_map(node.where));
    node = std::move(map);
  }
  if (node.kind != Kind::map || node.children.size() != 1)
    return fail(ErrorCode::invalid, "{}: wanted a method's name or {{name: {{options}}}}, found {}", node.where,
                node.kind == Kind::map ? fmt::format("a map of {} keys", node.children.size()) : node.found());
  RecipeNode& options = node.children[0];
  if (options.kind == Kind::null) options.kind = Kind::map;
  if (options.kind != Kind::map)
    return fail(ErrorCode::invalid, "{}: {}: wanted a map of options, found {}", options.where, node.keys[0],
                options.found());
  return {};
}

// One place a --set may write to: a path of map keys, with the method's node where it starts at one.
struct Target {
  std::string path;              // "weights.bits", "solver.gptq.damp"
  RecipeNode* method = nullptr;  // the options' map
  std::string option;
};

void add_options(RecipeNode& method, const std::string& prefix, std::vector<Target>& out) {
  const Result<const MethodDescriptor*> descriptor = find_method(method.keys[0]);
  if (!descriptor.ok()) return;  // reported when the recipe is read
  for (const OptionSchema& option : (*descriptor)->options)
    out.push_back(
        {fmt::format("{}.{}.{}", prefix, method.keys[0], option.name), &method.children[0], std::string(option.name)});
}

std::vector<Target> targets(RecipeNode& recipe) {
  std::vector<Target> out;
  for (const RecipeKeyHelp& key : recipe_keys()) out.push_back({key.path});
  for (const char* key : {"solver", "transforms", "ignore", "overrides"}) out.push_back({key});
  if (RecipeNode* solver = recipe.find("solver")) add_options(*solver, "solver", out);
  if (RecipeNode* transforms = recipe.find("transforms"))
    for (RecipeNode& transform : transforms->children) add_options(transform, "transforms", out);
  return out;
}

Result<Target> resolve(RecipeNode& recipe, const std::string& key, const std::string& where) {
  const std::vector<Target> all = targets(recipe);
  std::vector<Target> matches;
  for (const Target& target : all) {
    if (target.path == key) return target;
    if (target.path.ends_with("." + key)) matches.push_back(target);
  }
  if (matches.size() > 1) {
    std::vector<Target> weights;
    for (const Target& match : matches)
      if (match.path.starts_with("weights.")) weights.push_back(match);
    if (weights.size() == 1) matches = weights;
  }
  if (matches.size() == 1) return matches[0];
  std::vector<std::string> paths;
  for (const Target& target : matches.empty() ? all : matches) paths.push_back(target.path);
  if (matches.empty()) return unknown_key(where, key, paths);
  return with_hint(fail(ErrorCode::invalid, "{}: \"{}\" could be any of {}", where, key, fmt::join(paths, ", ")),
                   "give more of the key");
}

Status write(RecipeNode& recipe, const Target& target, RecipeNode value) {
  if (target.method) {
    target.method->put(target.option, std::move(value));
    return {};
  }
  const std::size_t dot = target.path.find('.');
  if (dot == std::string::npos) {
    recipe.put(target.path, std::move(value));
    return {};
  }
  const std::string section = target.path.substr(0, dot);
  RecipeNode* map = recipe.find(section);
  if (!map) map = &recipe.put(section, empty_map(value.where));
  if (map->kind != Kind::map)
    return fail(ErrorCode::invalid, "{}: {}: wanted a map of keys, found {}", map->where, section, map->found());
  map->put(target.path.substr(dot + 1), std::move(value));
  return {};
}

}  // namespace

Status normalize_methods(RecipeNode& recipe) {
  if (RecipeNode* solver = recipe.find("solver")) VN_TRY(normalize_method(*solver));
  if (RecipeNode* transforms = recipe.find("transforms")) {
    if (transforms->kind == Kind::null) transforms->kind = Kind::list;
    if (transforms->kind != Kind::list)
      return fail(ErrorCode::invalid, "{}: transforms: wanted a list of methods, found {}", transforms->where,
                  transforms->found());
    for (RecipeNode& transform : transforms->children) VN_TRY(normalize_method(transform));
  }
  return {};
}

Status apply_sets(RecipeNode& recipe, const std::vector<std::string>& sets) {
  for (const bool structure : {true, false}) {
    for (const std::string& set : sets) {
      const std::string where = "--set " + set;
      const std::size_t equals = set.find('=');
      if (equals == std::string::npos || equals == 0) return fail(ErrorCode::invalid, "{}: wanted key=value", where);
      const std::string key = set.substr(0, equals);
      if ((key == "solver" || key == "transforms") != structure) continue;
      VN_ASSIGN(const Target target, resolve(recipe, key, where));
      VN_ASSIGN(RecipeNode value, parse_recipe_tree(set.substr(equals + 1), where, false));
      VN_TRY(write(recipe, target, std::move(value)));
      if (structure) VN_TRY(normalize_methods(recipe));
    }
  }
  return {};
}

}  // namespace vernier
