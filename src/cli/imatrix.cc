// vernier imatrix: how large the input of each weight is on calibration text, as a file that weighs their errors.
#include "pipeline/imatrix.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>

#include "base/memory.h"
#include "cli/output.h"
#include "cli/table.h"
#include "containers/container.h"
#include "io/files.h"

namespace vernier {
namespace {

struct ImatrixCommand {
  CommonOptions common;
  std::string model, out, calib = "self", format = "gguf";
  Recipe::Calibration calibration;
  std::int64_t memory_bytes = 0;
};

// Mean square over all columns, and the largest of one column against it.
struct Figures {
  double mean = 0, peak = 0;
};

Figures figures_of(const ImportanceEntry& entry) {
  const auto matrices = static_cast<std::int64_t>(entry.counts.size());
  Figures figures;
  double columns = 0;
  for (std::int64_t m = 0; m < matrices; ++m) {
    for (const float mean : entry.means(m, matrices)) {
      figures.mean += mean;
      figures.peak = std::max(figures.peak, double{mean});
      ++columns;
    }
  }
  figures.mean /= columns;
  figures.peak = figures.mean > 0 ? figures.peak / figures.mean : 0;
  return figures;
}

std::int64_t unseen_matrices(const ImportanceFile& file) {
  std::int64_t unseen = 0;
  for (const ImportanceEntry& entry : file.entries) unseen += std::ranges::count(entry.counts, 0.0f);
  return unseen;
}

void print_result(const ImatrixCommand& command, const ImportanceFile& file, std::int64_t bytes, double seconds) {
  Table table({{"weight", Table::Align::left, true},
               {"columns", Table::Align::right},
               {"matrices", Table::Align::right},
               {"mean square", Table::Align::right},
               {"largest / mean", Table::Align::right}});
  for (const ImportanceEntry& entry : file.entries) {
    const Figures figures = figures_of(entry);
    table.add({entry.name, fmt::format("{}", entry.sums.size() / entry.counts.size()),
               fmt::format("{}", entry.counts.size()), fmt::format("{:.4g}", figures.mean),
               fmt::format("{:.1f}", figures.peak)});
  }
  print_table(table);
  if (const std::int64_t unseen = unseen_matrices(file); unseen > 0)
    fmt::print("{} matrices of experts saw no token; all their columns weigh the same\n", unseen);
  fmt::print("{}: {} entries over {}, {}, {:.1f} s, peak {}\n", command.out, file.entries.size(), file.datasets.front(),
             format_bytes(bytes), seconds, format_bytes(peak_resident_bytes()));
}

Json result_json(const ImatrixCommand& command, const ImportanceFile& file, std::int64_t bytes, double seconds) {
  Json entries = Json::array();
  for (const ImportanceEntry& entry : file.entries) {
    const Figures figures = figures_of(entry);
    entries.push_back({{"name", entry.name},
                       {"columns", entry.sums.size() / entry.counts.size()},
                       {"matrices", entry.counts.size()},
                       {"mean_square", figures.mean},
                       {"largest_over_mean", figures.peak}});
  }
  return {{"out", command.out},           {"format", command.format}, {"calibration", file.datasets.front()},
          {"samples", file.chunks},       {"ctx", file.chunk_tokens}, {"unseen_matrices", unseen_matrices(file)},
          {"output_bytes", bytes},        {"seconds", seconds},       {"peak_resident_bytes", peak_resident_bytes()},
          {"entries", std::move(entries)}};
}

int run_imatrix(ImatrixCommand& command) {
  const auto begin = std::chrono::steady_clock::now();
  command.common.apply();
  const std::int64_t budget = command.memory_bytes > 0 ? command.memory_bytes : available_bytes() / 4 * 3;
  const auto source = open_model(command.model);
  if (!source.ok()) return report(source.error());
  const auto calibration = load_calibration(**source, command.calib, command.calibration, budget);
  if (!calibration.ok()) return report(calibration.error());
  const auto gathered = gather_imatrix(**source, *calibration, {command.out + ".run", budget});
  if (!gathered.ok()) return report(gathered.error());
  const std::string bytes =
      imatrix_bytes(gathered->file, command.format == "dat" ? ImatrixKind::dat : ImatrixKind::gguf);
  if (const Status written = write_file_atomic(command.out, bytes); !written.ok()) return report(written.error());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (command.common.json)
    print_json(result_json(command, gathered->file, size, seconds));
  else
    print_result(command, gathered->file, size, seconds);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<ImatrixCommand>();
  app.add_option("MODEL", command->model, "model folder, of any container, or a .gguf file")->required();
  app.add_option("-o,--out", command->out, "file to write")->required();
  app.add_option("--calib", command->calib, "calibration: text or JSONL file, `self` or `random`")
      ->capture_default_str();
  app.add_option("--samples", command->calibration.samples, "calibration samples")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--ctx", command->calibration.ctx, "tokens per sample")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", command->calibration.seed, "of the choice of samples")->capture_default_str();
  add_bytes_option(app, "--memory", command->memory_bytes, "most resident memory (default: 3/4 of what is free)");
  app.add_option("--format", command->format, "kind of file")
      ->check(CLI::IsMember({"gguf", "dat"}))
      ->capture_default_str();
  add_common_options(app, command->common);
  app.footer(
      R"(For every linear of the model: the sums of squares of each column of its input, and the tokens they are over. `vernier
quantize --imatrix FILE` and llama-quantize take the file.

Examples:
  vernier imatrix models/books-6m -o books.imatrix --calib text.txt
  vernier imatrix MODEL -o model.imatrix --calib text.txt --samples 256 --ctx 512 --memory 4G
  vernier imatrix MODEL -o model.dat --format dat --json)");
  return [command] { return run_imatrix(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_imatrix;
const CommandDescriptor command_imatrix = {"imatrix", "Gather the importance of each weight's columns", setup};
}  // namespace units
}  // namespace vernier
