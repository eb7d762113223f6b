// vernier doctor: what this machine and this build can do, measured where that is quick.
#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cli/output.h"
#include "cli/table.h"
#include "kernels/measure.h"
#include "kernels/onednn/api.h"
#include "pipeline/learn_plugin.h"
#include "vernier/version.h"

namespace vernier {
namespace {

// Where a loaded library whose file name contains `part` really lies; empty when none is.
std::string loaded_library(const std::string& part) {
  struct Search {
    std::string part, path;
  } search{part, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        const std::string path = info->dlpi_name;
        if (path.substr(path.find_last_of('/') + 1).find(wanted.part) == std::string::npos) return 0;
        wanted.path = path;
        return 1;
      },
      &search);
  std::error_code failed;
  const auto real = std::filesystem::canonical(search.path, failed);
  return failed ? search.path : real.string();
}

template <class Function>
Function loaded_symbol(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
}

std::string onednn_version() { return kernels::onednn().version; }

std::string pcre2_version() {
  constexpr std::uint32_t config_version = 11;
  const auto config = loaded_symbol<int (*)(std::uint32_t, void*)>("pcre2_config_8");
  if (!config) return "not loaded";
  const int length = config(config_version, nullptr);
  std::string text(length > 0 ? length : 1, '\0');
  config(config_version, text.data());
  return text.c_str();
}

std::string file_name(const std::string& path) {
  return path.empty() ? "not loaded" : path.substr(path.find_last_of('/') + 1);
}

std::string learn_library() {
  const auto plugin = open_learn_plugin();
  return plugin.ok() ? (*plugin)->describe() : plugin.error().text();
}

Json examine(bool measure) {
  Json json;
  json["version"] = version();
  json["cpu"] = cpu_model();
  json["features"] = cpu_features();
  json["isa"] = name(best_isa());
  json["amx_tiles"] = supports(Isa::amx) ? "permitted" : "not available";
  json["cores"] = available_cores();
  json["threads"] = thread_count();
  json["memory_bytes"] = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  json["available_bytes"] = available_bytes();
  json["libraries"]["onednn"] = onednn_version();
  json["libraries"]["sentencepiece"] = file_name(loaded_library("sentencepiece"));
  json["libraries"]["pcre2"] = pcre2_version();
  json["libraries"]["openmp"] = file_name(loaded_library("omp"));
  json["vernier_learn"] = learn_library();
  if (measure) {
    json["read_bytes_per_s_one_thread"] = kernels::measure_read_bytes_per_s(1);
    json["read_bytes_per_s"] = kernels::measure_read_bytes_per_s(thread_count());
    json["sgemm_flops_per_s"] = kernels::measure_sgemm_flops_per_s(thread_count());
  }
  return json;
}

std::string cell(const std::string& key, const Json& value) {
  if (key.ends_with("_bytes")) return format_bytes(value.get<std::int64_t>());
  if (key.starts_with("read_bytes")) return fmt::format("{:.1f} GB/s", value.get<double>() / 1e9);
  if (key.starts_with("sgemm")) return fmt::format("{:.0f} GFLOP/s", value.get<double>() / 1e9);
  if (!value.is_array()) return value.is_string() ? value.get<std::string>() : value.dump();
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : " ") + item.get<std::string>();
  return text;
}

struct DoctorCommand {
  CommonOptions common;
  bool no_measure = false;
};

int run_doctor(const DoctorCommand& command) {
  command.common.apply();
  const Json json = examine(!command.no_measure);
  if (command.common.json) {
    print_json(json);
    return exit_ok;
  }
  Table table({{"what"}, {"found", Table::Align::left, false}});
  for (const auto& [key, value] : json.items()) {
    if (!value.is_object()) {
      table.add({key, cell(key, value)});
      continue;
    }
    for (const auto& [inner, text] : value.items()) table.add({inner, cell(inner, text)});
  }
  print_table(table);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<DoctorCommand>();
  app.add_flag("--no-measure", command->no_measure, "skip the bandwidth and product rates");
  add_common_options(app, command->common);
  app.footer("Examples:\n  vernier doctor\n  vernier doctor --threads 1 --json");
  return [command] { return run_doctor(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_doctor;
const CommandDescriptor command_doctor = {"doctor", "What this machine and this build can do", setup};
}  // namespace units
}  // namespace vernier
