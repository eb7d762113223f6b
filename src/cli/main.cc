#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/interrupt.h"
#include "cli/command.h"
#include "cli/output.h"
#include "vernier/version.h"

namespace {

constexpr const char* examples = R"(Examples:
  vernier plan MODEL --recipe w4a16-gptq --memory 4G     what a run would do, write and need
  vernier quantize MODEL -o OUT --recipe w4a16-gptq      quantize; the same command resumes
  vernier eval OUT --against MODEL --text FILE           what was lost: perplexity, KL, top-1
  vernier run OUT -p "It was a dark"                     continue a text
  vernier list recipes                                   what --recipe takes

Exit codes: 0 ok, 1 the job failed, 2 wrong usage. `vernier COMMAND --help` has options and examples.)";

int run_chosen(const std::vector<std::pair<CLI::App*, std::function<int()>>>& bodies) {
  for (const auto& [app, body] : bodies) {
    if (app->parsed()) return body();
  }
  return vernier::exit_usage;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Vernier quantizes transformer checkpoints, measures what was lost, and runs the result.", "vernier");
  app.set_version_flag("--version", std::string("vernier ") + vernier::version());
  app.footer(examples);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("vernier: {}\nhint: --help shows the options\n", error.what());
  });
  std::vector<std::pair<CLI::App*, std::function<int()>>> bodies;
  for (const vernier::CommandDescriptor* command : vernier::commands()) {
    CLI::App* sub = app.add_subcommand(std::string(command->name), std::string(command->summary));
    bodies.emplace_back(sub, command->setup(*sub));
  }
  if (argc < 2) {
    fmt::print(stderr, "{}", app.help());
    return vernier::exit_usage;
  }
  app.require_subcommand(1);
  vernier::set_command_line(argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? vernier::exit_ok : vernier::exit_usage;
  }
  if (const char* isa = std::getenv("VERNIER_ISA")) {
    if (const auto forced = vernier::require_isa("VERNIER_ISA", isa); !forced.ok())
      return vernier::report(forced.error());
  }
  vernier::install_interrupt_handler();
  try {
    return run_chosen(bodies);
  } catch (const std::exception& error) {
    return vernier::report(vernier::fail(vernier::ErrorCode::failed, "unexpected: {}", error.what()));
  }
}
