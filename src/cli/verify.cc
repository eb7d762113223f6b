// vernier verify: whether a model is whole, and holds all of the one it was made from.
#include "pipeline/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/memory.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verify_output.h"

namespace vernier {
namespace {

constexpr std::size_t worst_shown = 8;

struct VerifyCommand {
  CommonOptions common;
  VerifyOptions options;
};

void print_comparison(const std::string& source, SourceComparison comparison) {
  fmt::print("against {}: {} quantized, {} copied bit for bit, {} in another float type, {} dropped\n", source,
             comparison.quantized, comparison.copied, comparison.converted, comparison.dropped);
  std::stable_sort(comparison.errors.begin(), comparison.errors.end(),
                   [](const auto& a, const auto& b) { return a.relative > b.relative; });
  if (comparison.errors.empty() || comparison.errors[0].relative == 0) return;
  Table table({{"largest relative errors", Table::Align::left, true}, {"error", Table::Align::right}});
  for (std::size_t i = 0; i < std::min(worst_shown, comparison.errors.size()); ++i)
    table.add({comparison.errors[i].tensor, fmt::format("{:.3e}", comparison.errors[i].relative)});
  print_table(table);
}

int run_verify(VerifyCommand& command) {
  command.common.apply();
  const auto verified = verify(command.options);
  if (!verified.ok()) return report(verified.error());
  const int exit_code = verified->sound() ? exit_ok : exit_failed;
  if (command.common.json) {
    Json json = verify_json(*verified);
    json["peak_resident_bytes"] = peak_resident_bytes();
    print_json(json);
    return exit_code;
  }
  fmt::print("{}\n", verified->verdict());
  if (!verified->sound() && verified->problems[0].tensor.empty() && !verified->problems[0].wanted.empty())
    fmt::print("hint: {}\n", verified->problems[0].wanted);
  print_problems(*verified);
  if (verified->comparison) print_comparison(command.options.source, *verified->comparison);
  return exit_code;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<VerifyCommand>();
  VerifyOptions& options = command->options;
  app.add_option("IN", options.model, "model folder of any container, or a GGUF file")->required();
  app.add_option("--source", options.source, "the model it was made from: every tensor of it must be accounted for");
  add_bytes_option(app, "--memory", options.memory_bytes,
                   "maps less of a file at a time (default: 64 MiB of a tensor)");
  add_common_options(app, command->common);
  app.footer(
      R"(Looks at every tensor: there and of the shape that config.json asks for, floats and scales finite, codes and zero points
of their format; then at the tokenizer. With --source, copied tensors must be the same bit for bit, quantized ones get
their relative error; after a transform, names and shapes are compared alone. Exit code 1 when something is wrong.

Examples:
  vernier verify my-model-w4
  vernier verify my-model-w4 --source my-model
  vernier verify model-00001-of-00003.gguf --json)");
  return [command] { return run_verify(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_verify;
const CommandDescriptor command_verify = {"verify", "Check that a model is whole, alone or against its source", setup};
}  // namespace units
}  // namespace vernier
