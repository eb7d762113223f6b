#include "cli/output.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <vector>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/threads.h"

namespace vernier {

void CommonOptions::apply() const {
  set_thread_count(threads);
  if (!quiet) return;
  Progress::set_enabled(false);
  set_log_level(LogLevel::error);
}

void add_common_options(CLI::App& app, CommonOptions& options) {
  app.add_flag("--json", options.json, "print the result as JSON")->group("Common");
  app.add_flag("--quiet", options.quiet, "no progress and no messages but errors")->group("Common");
  app.add_option("--threads", options.threads, "worker threads (default: one per core)")
      ->check(CLI::Range(1, 1024))
      ->group("Common");
}

void add_bytes_option(CLI::App& app, const std::string& name, std::int64_t& target, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&target, name](const std::string& text) {
           auto bytes = parse_bytes(text);
           if (!bytes.ok()) throw CLI::ValidationError(name, bytes.error().text());
           target = *bytes;
         },
         help)
      ->type_name("BYTES");
}

void print_json(const Json& json) { fmt::print("{}\n", dump_json(json)); }

int report(const Error& error) {
  std::fflush(stdout);
  fmt::print(stderr, "vernier: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "hint: {}\n", error.hint);
  return exit_failed;
}

int usage_error(const std::string& message) {
  report(with_hint(fail(ErrorCode::invalid, "{}", message), "--help shows the options"));
  return exit_usage;
}

Status require_isa(std::string_view origin, const std::string& isa) {
  if (force_isa(isa)) return {};
  std::string known;
  for (const Isa one : kEveryIsa) {
    if (supports(one)) known += fmt::format("{}{}", known.empty() ? "" : ", ", name(one));
  }
  return with_hint(fail(ErrorCode::unsupported, "{} {}: no instruction set of this CPU", origin, isa),
                   "it has " + known);
}

namespace {
std::vector<std::string>& arguments() {
  static std::vector<std::string> list;
  return list;
}

std::string quoted(const std::string& word) {
  const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}
}  // namespace

void set_command_line(int argc, char** argv) { arguments().assign(argv, argv + argc); }

std::string command_line(const std::string& dropped) {
  std::string line;
  for (const std::string& argument : arguments()) {
    if (!dropped.empty() && argument == dropped) continue;
    line += (line.empty() ? "" : " ") + quoted(argument);
  }
  return line;
}

}  // namespace vernier
