// vernier make-model: random checkpoints of any size, and mixtures that equal a dense model.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "base/memory.h"
#include "cli/output.h"
#include "cli/random_model.h"
#include "cli/upcycle.h"
#include "io/checkpoint.h"

namespace vernier {
namespace {

struct MakeModelCommand {
  CommonOptions common;
  ModelSize size;
  std::string out, upcycle, dtype = "bf16";
  std::int64_t max_shard_bytes = 1 << 30;
};

Status make_model(MakeModelCommand& command) {
  if (!command.upcycle.empty())
    return write_upcycled_model(command.upcycle, command.out, command.size.experts > 0 ? command.size.experts : 8,
                                command.size.seed, command.max_shard_bytes);
  command.size.dtype = command.dtype == "bf16" ? DType::bf16 : command.dtype == "f16" ? DType::f16 : DType::f32;
  return write_random_model(command.out, command.size, command.max_shard_bytes);
}

Result<Json> describe(const std::string& folder, double seconds) {
  VN_ASSIGN(const auto checkpoint, Checkpoint::open(folder));
  std::int64_t parameters = 0, bytes = 0;
  for (const Checkpoint::Entry& entry : checkpoint->entries()) {
    parameters += entry.tensor.shape.elements();
    bytes += entry.tensor.bytes();
  }
  Json json;
  json["out"] = folder;
  json["architecture"] = checkpoint->config()["model_type"];
  json["parameters"] = parameters;
  json["stored_bytes"] = bytes;
  json["files"] = checkpoint->files().size();
  json["seconds"] = seconds;
  json["peak_resident_bytes"] = peak_resident_bytes();
  return json;
}

int run_make_model(MakeModelCommand& command) {
  command.common.apply();
  const auto begun = std::chrono::steady_clock::now();
  const Status status = make_model(command);
  if (!status.ok()) return report(status.error());
  const auto json =
      describe(command.out, std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  if (!json.ok()) return report(json.error());
  if (command.common.json)
    print_json(*json);
  else
    fmt::print("{}: {}, {:.2f} M parameters, {} in {} file(s), {:.1f} s\n", command.out,
               (*json)["architecture"].get<std::string>(),
               static_cast<double>((*json)["parameters"].get<std::int64_t>()) / 1e6,
               format_bytes((*json)["stored_bytes"].get<std::int64_t>()), (*json)["files"].get<std::size_t>(),
               (*json)["seconds"].get<double>());
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<MakeModelCommand>();
  ModelSize& size = command->size;
  const auto count = [&](const std::string& flag, std::int64_t& target, const std::string& help) {
    app.add_option(flag, target, help)
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24))
        ->capture_default_str();
  };
  app.add_option("-o,--out", command->out, "folder to write; must not exist")->required();
  CLI::Option* upcycle = app.add_option("--upcycle", command->upcycle,
                                        "llama or mistral folder to turn into an equal mixture of identical experts");
  app.add_option("--arch", size.arch, "architecture (vernier list architectures)")
      ->capture_default_str()
      ->excludes(upcycle);
  count("--hidden", size.hidden, "width of the hidden state");
  count("--layers", size.layers, "blocks");
  count("--intermediate", size.intermediate, "width of the MLP");
  count("--heads", size.heads, "query heads");
  app.add_option("--kv-heads", size.kv_heads, "key-value heads (default: --heads)")->check(CLI::PositiveNumber);
  count("--vocab", size.vocab, "vocabulary, at least 259");
  app.add_option("--experts", size.experts, "experts of a mixture (default: 8)")->check(CLI::Range(1, 1 << 16));
  count("--positions", size.positions, "max_position_embeddings");
  app.add_flag("--tied", size.tied_head, "the head shares the embedding's weight");
  app.add_option("--dtype", command->dtype, "stored type")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->capture_default_str();
  app.add_option("--seed", size.seed, "of the weights")->capture_default_str();
  add_bytes_option(app, "--max-shard", command->max_shard_bytes, "largest weight file (default: 1G)");
  add_common_options(app, command->common);
  app.footer(R"(Examples:
  vernier make-model --arch qwen3 --hidden 256 --layers 4 --heads 8 --kv-heads 2 -o tiny-qwen3
  vernier make-model --arch llama --hidden 2048 --layers 16 --intermediate 8192 --heads 32 --kv-heads 8 \
                     --vocab 102400 --seed 1 -o llama-1.4b
  vernier make-model --upcycle models/books-6m --experts 4 -o books-moe)");
  return [command] { return run_make_model(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_make_model;
const CommandDescriptor command_make_model = {"make-model", "Random checkpoints of any size; equal mixtures", setup};
}  // namespace units
}  // namespace vernier
