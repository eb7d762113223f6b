// vernier convert: a model in another container, code for code where that is possible.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verify_output.h"
#include "pipeline/repack.h"

namespace vernier {
namespace {

struct ConvertCommand {
  CommonOptions common;
  RepackOptions options;
  bool no_verify = false;
  std::string grid, recipe;
  std::vector<std::string> sets;

  bool names_grids() const { return !grid.empty() || !recipe.empty() || !sets.empty(); }
};

// What the options say of grids. Rounding to nearest is all that convert does of a recipe.
Result<Recipe> rounding_recipe(const ConvertCommand& command) {
  std::vector<std::string> sets;
  if (!command.grid.empty()) {
    VN_ASSIGN(const FormatDescriptor* format, find_format(command.grid));
    sets.push_back("weights.format=" + command.grid);
    // The format's own search; bytes are spaced so finely that the plain range is as good.
    if (command.recipe.empty() && format->fixed && format->fixed->bits < 8) sets.push_back("weights.range=search");
  }
  sets.insert(sets.end(), command.sets.begin(), command.sets.end());
  VN_ASSIGN(Recipe recipe, load_recipe(command.recipe.empty() ? "w4a16-rtn" : command.recipe, sets));
  if (recipe.solver.name != "rtn" || !recipe.transforms.empty() || recipe.activations.bits < 16)
    return with_hint(fail(ErrorCode::unsupported, "recipe {}: convert only rounds weights to nearest", recipe.name),
                     "vernier quantize follows whole recipes, from a model of floats");
  return recipe;
}

void print_refusals(const ConvertCommand& command, const std::vector<Refusal>& refusals) {
  if (command.common.json) {
    Json rows = Json::array();
    for (const Refusal& refusal : refusals)
      rows.push_back({{"tensor", refusal.tensor}, {"grid", refusal.grid}, {"reason", refusal.reason}});
    return print_json({{"container", command.options.container}, {"refused", std::move(rows)}});
  }
  // One line for all weights of a grid that are refused for the same reason.
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> tensors;
  for (const Refusal& refusal : refusals) tensors[{refusal.grid, refusal.reason}].push_back(refusal.tensor);
  Table table({{"weights", Table::Align::right}, {"grid"}, {"reason"}, {"first of them", Table::Align::left, true}});
  for (const auto& [why, names] : tensors)
    table.add({std::to_string(names.size()), why.first, why.second, names.front()});
  print_table(table);
}

int report_refusals(const ConvertCommand& command, const std::vector<Refusal>& refusals) {
  const RepackOptions& options = command.options;
  print_refusals(command, refusals);
  return report(with_hint(
      fail(ErrorCode::unsupported, "{}: container {} does not hold {} of its weights{}; nothing was written",
           options.model, options.container, refusals.size(), options.rounding.allowed ? "" : " as they are"),
      options.rounding.allowed
          ? "name another --grid, or convert into another container (vernier list containers)"
          : "--requantize rounds them to a grid of the container, with some loss; better, quantize the original with "
            "--container " +
                options.container));
}

void print_result(const ConvertCommand& command, const RepackResult& result) {
  const RepackOptions& options = command.options;
  if (command.common.json) {
    Json rounded = Json::array();
    for (const Rounded& weight : result.rounded)
      rounded.push_back({{"tensor", weight.tensor}, {"from", weight.from}, {"to", weight.to}, {"error", weight.error}});
    return print_json({{"out", options.out},
                       {"container", options.container},
                       {"quantized_tensors", result.quantized},
                       {"copied_tensors", result.copied},
                       {"requantized", std::move(rounded)},
                       {"output_bytes", result.output_bytes},
                       {"verified", !command.no_verify},
                       {"seconds", result.seconds},
                       {"peak_resident_bytes", peak_resident_bytes()}});
  }
  if (!result.rounded.empty()) {
    Table table({{"requantized", Table::Align::left, true}, {"from"}, {"to"}, {"added error", Table::Align::right}});
    for (const Rounded& weight : result.rounded)
      table.add({weight.tensor, weight.from, weight.to,
                 weight.error == 0 ? std::string("0") : fmt::format("{:.3e}", weight.error)});
    print_table(table);
  }
  fmt::print("{}: {} quantized and {} other tensors as {}, {}, {:.1f} s, peak memory {}\n", options.out,
             result.quantized, result.copied, options.container, format_bytes(result.output_bytes), result.seconds,
             format_bytes(peak_resident_bytes()));
}

int run_convert(ConvertCommand& command) {
  command.common.apply();
  RoundingOptions& rounding = command.options.rounding;
  if (!rounding.allowed && (command.names_grids() || rounding.all || rounding.float_type))
    return usage_error(
        "--grid, --recipe, --set, --float-type and --all say how to round weights, which only --requantize does");
  if (command.names_grids()) {
    auto recipe = rounding_recipe(command);
    if (!recipe.ok()) {
      report(recipe.error());
      return exit_usage;
    }
    rounding.recipe = std::move(recipe).value();
  }
  const auto result = repack(command.options);
  if (!result.ok()) return report(result.error());
  if (!result->refused.empty()) return report_refusals(command, result->refused);
  const RepackOptions& options = command.options;
  if (!command.no_verify && !verify_output(options.out, options.model, command.common.json)) return exit_failed;
  print_result(command, *result);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<ConvertCommand>();
  RepackOptions& options = command->options;
  app.add_option("IN", options.model, "model folder of any container, or a GGUF file")->required();
  app.add_option("-o,--out", options.out, "folder to write; must not exist")->required();
  app.add_option("--container", options.container, "container to write: vernier list containers")->required();
  app.add_flag("--requantize", options.rounding.allowed,
               "round weights that the container cannot hold as they are to its nearest grid");
  app.add_option("--grid", command->grid, "with --requantize: the format to round to (vernier list formats)");
  app.add_option("--recipe", command->recipe, "with --requantize: take formats and overrides from its weights");
  app.add_option("--set", command->sets, "with --requantize: KEY=VALUE of a recipe's weights; may be repeated")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  app.add_option("--float-type", options.rounding.float_type,
                 "with --requantize: type of weights that become floats (default: the 16-bit type of their scales)")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, DType>{{"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}})
                      .description("{f32,f16,bf16}"))
      ->type_name("TYPE");
  app.add_flag("--all", options.rounding.all, "with --requantize: round weights that could stay, too");
  add_bytes_option(app, "--max-shard", options.max_shard_bytes, "largest weight file (default: 4G; gguf: one file)");
  add_no_verify_option(app, command->no_verify);
  add_common_options(app, command->common);
  app.footer(
      R"(Codes and scales stay what they are, so the new folder is the same model bit for bit. What the container cannot hold is
listed before anything is written, every weight of it with --json. With --requantize it is rounded instead, and the error that
this adds to each weight is reported; weights whose codes fit a finer layout add none. A model of floats is rounded to the
grid that is named, or written as it is without --requantize. Into safetensors, which hold no codes, the values are written;
--float-type f32 keeps every one exactly.

Examples:
  vernier convert my-model-gptq -o my-model-ct --container compressed-tensors
  vernier convert my-model-w8-g32 -o my-model-gguf --container gguf
  vernier convert model.gguf -o my-model --container vernier
  vernier convert my-model-w4 -o my-model-gguf --container gguf --requantize --max-shard 2G
  vernier convert model-f16.gguf -o my-model-q4 --container gguf --requantize --recipe gguf-q4_k
  vernier convert model-q4_k_m.gguf -o my-model-floats --container safetensors --requantize --float-type f32
  vernier convert model-q8_0.gguf -o my-model-q4 --container gguf --requantize --grid q4_k --all)");
  return [command] { return run_convert(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_convert;
const CommandDescriptor command_convert = {"convert", "Write a model in another container, code for code where it fits",
                                           setup};
}  // namespace units
}  // namespace vernier
