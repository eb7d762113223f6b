// vernier pack: a quantized model as kernels read it, memory-mapped and in place.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/output.h"
#include "cli/verify_output.h"
#include "pipeline/repack.h"

namespace vernier {
namespace {

struct PackCommand {
  CommonOptions common;
  RepackOptions options;
  bool no_verify = false;
};

int run_pack(PackCommand& command) {
  command.common.apply();
  const auto result = repack(command.options);
  if (!result.ok()) return report(result.error());
  if (!result->refused.empty())
    return report(fail(ErrorCode::unsupported, "{}: {}: {}", command.options.model, result->refused[0].tensor,
                       result->refused[0].reason));
  const RepackOptions& options = command.options;
  if (!command.no_verify && !verify_output(options.out, options.model, command.common.json)) return exit_failed;
  if (command.common.json) {
    print_json({{"out", command.options.out},
                {"container", command.options.container},
                {"quantized_tensors", result->quantized},
                {"copied_tensors", result->copied},
                {"output_bytes", result->output_bytes},
                {"verified", !command.no_verify},
                {"seconds", result->seconds},
                {"peak_resident_bytes", peak_resident_bytes()}});
  } else {
    fmt::print("{}: {} quantized and {} other tensors, {}, {:.1f} s\n", command.options.out, result->quantized,
               result->copied, format_bytes(result->output_bytes), result->seconds);
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<PackCommand>();
  RepackOptions& options = command->options;
  app.add_option("MODEL", options.model, "quantized model folder of any container, or a GGUF file")->required();
  app.add_option("-o,--out", options.out, "folder to write; must not exist")->required();
  app.add_option("--head", options.head_bits, "bits of a head that is stored in float (0: leave it)")
      ->check(CLI::IsMember({0, 2, 3, 4, 6, 8}))
      ->capture_default_str();
  add_bytes_option(app, "--max-shard", options.max_shard_bytes, "largest weight file (default: 4G)");
  add_no_verify_option(app, command->no_verify);
  add_common_options(app, command->common);
  app.footer(
      R"(Codes and scales stay what they are; only their order in the file changes. A float model is quantized into the same
form by `vernier quantize --container vernier`.

Examples:
  vernier pack my-model-w4 -o my-model-packed
  vernier pack my-model-w4 -o my-model-packed --head 8)");
  return [command] { return run_pack(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_pack;
const CommandDescriptor command_pack = {"pack", "Lay a quantized model out for the kernels", setup};
}  // namespace units
}  // namespace vernier
