// vernier inject-outliers: a model that is hard to quantize and computes the same.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/outlier_injection.h"
#include "cli/output.h"
#include "cli/table.h"

namespace vernier {
namespace {

struct InjectCommand {
  CommonOptions common;
  std::string model, out;
  OutlierOptions options;
};

Json figures_json(const OutlierFigures& figures) {
  return {{"inputs", figures.inputs},
          {"channel_ratio", figures.channel_ratio},
          {"worst_channel_ratio", figures.worst_channel_ratio},
          {"kurtosis", figures.kurtosis},
          {"worst_kurtosis", figures.worst_kurtosis}};
}

int run_inject(InjectCommand& command) {
  command.common.apply();
  const auto report_or = inject_outliers(command.model, command.out, command.options);
  if (!report_or.ok()) return report(report_or.error());
  const OutlierReport& made = *report_or;
  if (command.common.json) {
    print_json({{"out", command.out},
                {"strength", made.strength},
                {"dtype", made.dtype},
                {"untied_head", made.untied},
                {"edges", made.edges},
                {"before", figures_json(made.before)},
                {"after", figures_json(made.after)}});
    return exit_ok;
  }
  if (made.untied) fmt::print("the head got a weight of its own: the embedding turns as rows, the head as columns\n");
  Table table({{"inputs of linears"}, {"before", Table::Align::right}, {"after", Table::Align::right}});
  const auto row = [&](const char* title, double before, double after) {
    table.add({title, fmt::format("{:.1f}", before), fmt::format("{:.1f}", after)});
  };
  row("largest channel / median, mean", made.before.channel_ratio, made.after.channel_ratio);
  row("largest channel / median, worst", made.before.worst_channel_ratio, made.after.worst_channel_ratio);
  row("kurtosis, mean", made.before.kurtosis, made.after.kurtosis);
  row("kurtosis, worst", made.before.worst_kurtosis, made.after.worst_kurtosis);
  print_table(table);
  fmt::print("{}: {} edges, factor {:g}\n", command.out, made.edges, made.strength);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<InjectCommand>();
  OutlierOptions& options = command->options;
  app.add_option("model", command->model, "float model folder")->required();
  app.add_option("-o,--out", command->out, "folder to write; must not exist")->required();
  app.add_option("--strength", options.strength, "factor of the chosen channels, rounded to a power of two")
      ->check(CLI::Range(1.0, 65536.0))
      ->capture_default_str();
  app.add_option("--channels", options.channels, "channels chosen on each edge")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the choice of channels, and of sampled text")->capture_default_str();
  app.add_flag("--rotate", options.rotate,
               "first rotate the residual stream so that its principal directions become those channels (RMSNorm)");
  app.add_option("--edges", options.edges, "where: all, or some of norm, value, gated, relu joined by +")
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "stored type; auto: the model's where that is exact, else f32")
      ->check(CLI::IsMember({"auto", "bf16", "f32"}))
      ->capture_default_str();
  app.add_option("--calib", options.calib, "tokens for directions and figures: text or JSONL file, `self` or `random`")
      ->capture_default_str();
  add_bytes_option(app, "--max-shard", options.max_shard_bytes, "largest weight file (default: 1G)");
  add_common_options(app, command->common);
  app.footer(R"(Examples:
  vernier inject-outliers models/books-6m -o books-outliers
  vernier inject-outliers models/books-6m -o books-rotated --rotate --strength 16 --channels 6)");
  return [command] { return run_inject(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_inject_outliers;
const CommandDescriptor command_inject_outliers = {"inject-outliers",
                                                   "An equal model with the outlier channels of large ones", setup};
}  // namespace units
}  // namespace vernier
