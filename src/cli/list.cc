// vernier list: what is registered.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "arch/architecture.h"
#include "cli/output.h"
#include "cli/table.h"
#include "containers/container.h"
#include "eval/metric.h"
#include "methods/method.h"
#include "pipeline/container_grids.h"
#include "vernier/format.h"
#include "vernier/recipe.h"

namespace vernier {
namespace {

// Rows of one listing: "name" first, further string fields in column order. Options of methods are nested.
Json entry(std::string_view name, std::string_view summary) {
  Json json;
  json["name"] = name;
  json["summary"] = summary;
  return json;
}

Json option_json(const OptionSchema& option) {
  Json json;
  json["name"] = option.name;
  json["default"] = std::visit([](const auto& value) { return Json(value); }, option.fallback);
  json["help"] = option.help;
  if (!option.choices.empty()) json["choices"] = option.choices;
  return json;
}

Json list_methods() {
  Json list = Json::array();
  for (const MethodDescriptor* method : methods()) {
    Json json = entry(method->name, method->summary);
    json["role"] = method->role == MethodDescriptor::Role::solver ? "solver" : "transform";
    json["calibration"] = method->needs_calibration || method->needs_hessian;
    json["source"] = method->source;
    json["options"] = Json::array();
    for (const OptionSchema& option : method->options) json["options"].push_back(option_json(option));
    list.push_back(std::move(json));
  }
  return list;
}

template <class Descriptors>
Json list_plain(const Descriptors& descriptors) {
  Json list = Json::array();
  for (const auto* descriptor : descriptors) list.push_back(entry(descriptor->name, descriptor->summary));
  return list;
}

Json list_architectures() {
  Json list = Json::array();
  for (const ArchitectureDescriptor* architecture : architectures()) {
    Json json = entry(architecture->name, architecture->summary);
    json["model_types"] = Json::array();
    for (const std::string_view type : architecture->model_types) json["model_types"].push_back(type);
    list.push_back(std::move(json));
  }
  return list;
}

Json list_metrics() {
  Json list = Json::array();
  for (const MetricDescriptor* metric : metrics()) {
    Json json = entry(metric->name, metric->summary);
    json["needs_reference"] = metric->needs_reference;
    list.push_back(std::move(json));
  }
  return list;
}

Json list_containers() {
  Json list = Json::array();
  for (const ContainerDescriptor* container : containers()) {
    Json json = entry(container->name, container->summary);
    json["written"] = container->accepts != nullptr;
    json["also_reads"] = container->also_reads;
    list.push_back(std::move(json));
  }
  return list;
}

Json list_recipes() {
  Json list = Json::array();
  for (const std::string& name : recipe_names()) {
    auto recipe = load_recipe(name);
    list.push_back(entry(name, recipe.ok() ? recipe->summary : recipe.error().text()));
  }
  return list;
}

// "2 to 8", "2 to 4, 8": bits, ascending.
std::string ranges(const std::vector<int>& bits) {
  std::string text;
  for (std::size_t first = 0, last = 0; first < bits.size(); first = last + 1) {
    for (last = first; last + 1 < bits.size() && bits[last + 1] == bits[last] + 1;) ++last;
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", bits[first],
                        last == first ? "" : fmt::format(" to {}", bits[last]));
  }
  return text;
}

// Bits of the grids that each container holds without rounding. What it holds it reads, too.
Json list_grids() {
  Json list = Json::array();
  for (const GridKind& kind : grid_kinds()) {
    Json row;
    row["grid"] = kind.name;
    for (const ContainerDescriptor* container : containers()) {
      if (!container->accepts || container->name == "safetensors") continue;
      std::vector<int> bits;
      for (std::size_t at = 0; at < kind.grids.size(); ++at)
        if (held_as(*container, kind, at)) bits.push_back(kind.grids[at].bits);
      row[std::string(container->name)] = bits.empty() ? "-" : kind.grids.size() == 1 ? "yes" : ranges(bits);
    }
    list.push_back(std::move(row));
  }
  return list;
}

struct Listing {
  const char* name;
  Json (*make)();
};
constexpr Listing listings[] = {
    {"methods", list_methods},
    {"formats", [] { return list_plain(formats()); }},
    {"architectures", list_architectures},
    {"containers", list_containers},
    {"grids", list_grids},
    {"recipes", list_recipes},
    {"metrics", list_metrics},
};

std::string cell(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : " ") + cell(item);
  return text;
}

// The fields of the first row are the columns; `options` get a table of their own below.
void print_listing(const Json& list) {
  if (list.empty()) return;
  std::vector<Table::Column> columns;
  for (const auto& [key, value] : list[0].items()) {
    if (key != "options")
      columns.push_back({key, Table::Align::left, key == "summary" || key == "source" || key == "also_reads"});
  }
  Table table(columns), options({{"option"}, {"default"}, {"help", Table::Align::left, true}});
  bool any_options = false;
  for (const Json& row : list) {
    std::vector<std::string> cells;
    for (const Table::Column& column : columns) cells.push_back(cell(row[column.title]));
    table.add(cells);
    if (!row.contains("options")) continue;
    for (const Json& option : row["options"]) {
      options.add({cell(row["name"]) + "." + cell(option["name"]), cell(option["default"]), cell(option["help"])});
      any_options = true;
    }
  }
  print_table(table);
  if (!any_options) return;
  fmt::print("\n");
  print_table(options);
}

struct ListCommand {
  CommonOptions common;
  std::string what;
};

int run_list(const ListCommand& command) {
  for (const Listing& listing : listings) {
    if (command.what != listing.name) continue;
    const Json list = listing.make();
    if (command.common.json)
      print_json(list);
    else
      print_listing(list);
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<ListCommand>();
  std::vector<std::string> names;
  for (const Listing& listing : listings) names.emplace_back(listing.name);
  app.add_option("WHAT", command->what, "what to list")->required()->check(CLI::IsMember(names));
  add_common_options(app, command->common);
  app.footer(
      "grids: the bits of each grid that each container holds as they are, code for code.\n\n"
      "Examples:\n  vernier list recipes\n  vernier list methods --json\n  vernier list grids");
  return [command] { return run_list(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_list;
const CommandDescriptor command_list = {"list", "Methods, formats, architectures, containers, grids, recipes, metrics",
                                        setup};
}  // namespace units
}  // namespace vernier
