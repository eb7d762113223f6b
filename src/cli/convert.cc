// vernier convert: a quantized model in another container, code for code.
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
};

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

int run_convert(ConvertCommand& command) {
  command.common.apply();
  const RepackOptions& options = command.options;
  const auto refusals = repack_refusals(options);
  if (!refusals.ok()) return report(refusals.error());
  if (!refusals->empty()) {
    print_refusals(command, *refusals);
    return report(with_hint(fail(ErrorCode::unsupported,
                                 "{}: container {} does not hold {} of its weights as they are; "
                                 "nothing was written",
                                 options.model, options.container, refusals->size()),
                            "quantize the original with --container " + options.container +
                                ", or convert into another container (vernier list containers)"));
  }
  const auto result = repack(options);
  if (!result.ok()) return report(result.error());
  if (!command.no_verify && !verify_output(options.out, options.model, command.common.json)) return exit_failed;
  if (command.common.json) {
    print_json({{"out", options.out},
                {"container", options.container},
                {"quantized_tensors", result->quantized},
                {"copied_tensors", result->copied},
                {"output_bytes", result->output_bytes},
                {"verified", !command.no_verify},
                {"seconds", result->seconds},
                {"peak_resident_bytes", peak_resident_bytes()}});
  } else {
    fmt::print("{}: {} quantized and {} other tensors as {}, {}, {:.1f} s, peak memory {}\n", options.out,
               result->quantized, result->copied, options.container, format_bytes(result->output_bytes),
               result->seconds, format_bytes(peak_resident_bytes()));
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<ConvertCommand>();
  RepackOptions& options = command->options;
  app.add_option("IN", options.model, "quantized model folder, of any container")->required();
  app.add_option("-o,--out", options.out, "folder to write; must not exist")->required();
  app.add_option("--container", options.container, "container to write: vernier list containers")->required();
  add_bytes_option(app, "--max-shard", options.max_shard_bytes, "largest weight file (default: 4G)");
  add_no_verify_option(app, command->no_verify);
  add_common_options(app, command->common);
  app.footer(
      R"(Codes and scales stay what they are, so the new folder is the same model bit for bit. What the container cannot hold is
listed before anything is written, every weight of it with --json.

Examples:
  vernier convert my-model-gptq -o my-model-ct --container compressed-tensors
  vernier convert my-model-awq -o my-model-gptq --container gptq
  vernier convert my-model-w8-g32 -o my-model-gguf --container gguf)");
  return [command] { return run_convert(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_convert;
const CommandDescriptor command_convert = {"convert", "Write a quantized model in another container, code for code",
                                           setup};
}  // namespace units
}  // namespace vernier
