// vernier bench: tokens per second, and the share of what the machine can do.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cli/output.h"
#include "cli/table.h"
#include "containers/container.h"
#include "eval/kernel_speed.h"
#include "eval/speed.h"

namespace vernier {
namespace {

struct BenchCommand {
  CommonOptions common;
  SpeedOptions options;
  std::string model, kv, isa;
  bool float_inputs = false, pin = false;

  CLI::App* kernels = nullptr;  // the subcommand
  KernelSpeedOptions kernel_options;
};

std::string share(double part, double whole) { return whole > 0 ? fmt::format("{:.0f} %", 100 * part / whole) : "-"; }

int bench_kernels(BenchCommand& command) {
  KernelSpeedOptions& options = command.kernel_options;
  if (command.isa.empty()) {
    std::copy_if(std::begin(kEveryIsa), std::end(kEveryIsa), std::back_inserter(options.isas), supports);
  } else {
    options.isas = {best_isa()};
  }
  const auto rows = measure_kernels(options);
  if (!rows.ok()) return report(rows.error());
  if (rows->empty()) return usage_error(fmt::format("--only {}: no kernel has that in its name", options.only));
  if (command.common.json) {
    Json json = {{"cpu", cpu_model()}, {"threads", thread_count()}, {"kernels", Json::array()}};
    for (const KernelSpeed& row : *rows) json["kernels"].push_back(to_json(row));
    print_json(json);
    return exit_ok;
  }
  Table table({{"kernel"},
               {"shape"},
               {"isa"},
               {"rate", Table::Align::right},
               {"of the limit", Table::Align::right},
               {"limit"}});
  for (const KernelSpeed& r : *rows) {
    table.add({r.kernel, r.shape, r.isa, fmt::format("{:.1f} {}", r.rate, r.unit), share(r.rate, r.limit_rate),
               fmt::format("{} {:.1f}", r.limit, r.limit_rate)});
  }
  print_table(table);
  return exit_ok;
}

void print_speed(const BenchCommand& command, const SpeedResult& r) {
  Table table({{"figure"}, {"value", Table::Align::right}, {"of the limit", Table::Align::right}, {"limit"}});
  const auto rate = [](const Rate& x) { return fmt::format("{:.1f} +-{:.0f} %", x.median, 50 * x.spread); };
  const std::string gemm = fmt::format("oneDNN int8 {:.0f} GOP/s", r.int8_gemm_gops);
  table.add({fmt::format("prefill {} tokens/s", command.options.prompt), rate(r.prefill_tokens_per_s),
             share(r.prefill_gops, r.int8_gemm_gops), gemm});
  table.add({"  its products, GOP/s", fmt::format("{:.0f}", r.prefill_gemm_gops),
             share(r.prefill_gemm_gops, r.int8_gemm_gops), gemm});
  table.add({fmt::format("decode tokens/s, batch {}", command.options.batch), rate(r.decode_tokens_per_s),
             share(r.decode_read_gb_per_s, r.machine_read_gb_per_s),
             fmt::format("memory {:.1f} GB/s", r.machine_read_gb_per_s)});
  table.add({"weights read for a step", format_bytes(r.weight_bytes)});
  table.add({"KV cache of a token", format_bytes(static_cast<std::int64_t>(r.kv_bytes_per_token))});
  table.add({"peak memory", format_bytes(r.peak_resident_bytes)});
  table.add({"isa, threads", fmt::format("{}, {}", r.isa, thread_count())});
  print_table(table);
}

int run_bench(BenchCommand& command) {
  command.common.apply();
  if (command.pin) pin_threads(true);
  if (!command.isa.empty()) {
    if (const Status forced = require_isa("--isa", command.isa); !forced.ok()) return report(forced.error());
  }
  if (command.kernels->parsed()) return bench_kernels(command);
  if (command.model.empty()) return usage_error("bench wants MODEL, or the word kernels");
  keep_freed_memory();
  command.options.executor.int8_inputs = !command.float_inputs;
  const auto source = open_model(command.model);
  if (!source.ok()) return report(source.error());
  command.options.kv = kernels::kv_type_from_name(command.kv).value_or(kv_type_for(**source));
  const auto result = measure_speed(**source, command.options);
  if (!result.ok()) return report(result.error());
  if (command.common.json) {
    Json json = to_json(*result);
    json["model"] = command.model;
    json["prompt"] = command.options.prompt;
    json["generate"] = command.options.generate;
    json["batch"] = command.options.batch;
    json["threads"] = thread_count();
    print_json(json);
  } else {
    print_speed(command, *result);
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<BenchCommand>();
  SpeedOptions& options = command->options;
  app.add_option("MODEL", command->model, "model folder, of any container, or a .gguf file");
  app.add_option("--prompt", options.prompt, "tokens of a prompt")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--generate", options.generate, "tokens decoded")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--depth", options.depth, "context when decoding begins (default: the prompt)")
      ->check(CLI::PositiveNumber);
  app.add_option("--batch", options.batch, "sequences decoded together")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "of each figure; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--kv", command->kv, "elements of the KV cache (default: f16, or what the model's config asks for)")
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  std::string isas;
  for (const Isa isa : kEveryIsa) isas += fmt::format("{}{}", isas.empty() ? "" : ", ", name(isa));
  app.add_option("--isa", command->isa, "one instruction set: " + isas);
  app.add_flag("--pin", command->pin, "bind each worker thread to a core");
  app.add_flag("--float-inputs", command->float_inputs, "multiply weight-only models in float");
  add_common_options(app, command->common);
  command->kernels =
      app.add_subcommand("kernels", "every kernel x shape x instruction set, with its share of the limit");
  command->kernels->fallthrough();
  command->kernels->add_option("--only", command->kernel_options.only, "kernels with this in their name");
  app.footer(
      R"(Rates are medians; +- is half the distance between the slowest and the fastest repetition. Shares are of limits that are
measured in the same process: a plain read loop, and oneDNN's int8 products on the model's own shapes.

Examples:
  vernier bench my-model-packed
  vernier bench my-model-packed --prompt 512 --generate 128 --batch 8 --kv int8 --json
  vernier bench kernels --only "dual int4")");
  return [command] { return run_bench(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_bench;
const CommandDescriptor command_bench = {"bench", "Measure prefill and decode against the machine's limits", setup};
}  // namespace units
}  // namespace vernier
