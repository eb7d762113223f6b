// vernier run: continue a text.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "base/interrupt.h"
#include "base/memory.h"
#include "cli/output.h"
#include "containers/container.h"
#include "runtime/generate.h"

namespace vernier {
namespace {

struct RunCommand {
  CommonOptions common;
  std::string model, prompt;
  GenerateOptions options;
  bool ignore_eos = false;
};

double seconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

Result<std::vector<TokenId>> encode_prompt(const RunCommand& command, const Tokenizer& tokenizer) {
  std::vector<TokenId> prompt = tokenizer.encode(command.prompt, true);
  const bool led = !prompt.empty() && prompt.front() == tokenizer.bos;
  if (tokenizer.bos && !led && (tokenizer.add_bos || prompt.empty())) prompt.insert(prompt.begin(), *tokenizer.bos);
  if (prompt.empty())
    return Error{ErrorCode::invalid, "the prompt is empty and the model has no BOS token", "give -p TEXT"};
  return prompt;
}

void show(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

Result<Json> run_model(RunCommand& command) {
  VN_ASSIGN(const auto source, open_model(command.model));
  VN_ASSIGN(const auto tokenizer, open_tokenizer(command.model));
  VN_ASSIGN(const std::vector<TokenId> prompt, encode_prompt(command, *tokenizer));
  if (!command.ignore_eos) command.options.stop = tokenizer->eos;
  VN_ASSIGN(const auto forward, Forward::open(*source, false));

  // The prompt goes through the decoder first: what a token reads as can depend on the one before it.
  StreamDecoder decoder(*tokenizer);
  std::string echo, text;
  for (const TokenId id : prompt) echo += decoder.push(id);
  if (!command.common.json) show(echo);
  const auto begun = std::chrono::steady_clock::now();
  double first_token_s = 0;
  const auto on_token = [&](TokenId id) {
    if (first_token_s == 0) first_token_s = seconds_since(begun);
    const std::string piece = decoder.push(id);
    text += piece;
    if (!command.common.json) show(piece);
    return !interrupted();
  };
  VN_ASSIGN(const std::vector<TokenId> tokens, generate(*forward, source->graph(), prompt, command.options, on_token));
  const double total_s = seconds_since(begun);
  const std::string rest = decoder.finish();
  text += rest;
  if (!command.common.json) show(rest + "\n");

  const auto count = static_cast<std::int64_t>(tokens.size());
  const double decode_s = total_s - first_token_s;
  Json json;
  json["prompt"] = command.prompt;
  json["text"] = text;
  json["ids"] = tokens;
  json["prompt_tokens"] = prompt.size();
  json["tokens"] = count;
  json["first_token_s"] = first_token_s;
  json["seconds"] = total_s;
  json["tokens_per_s"] = count > 1 && decode_s > 0 ? static_cast<double>(count - 1) / decode_s : 0.0;
  json["peak_resident_bytes"] = peak_resident_bytes();
  return json;
}

int run_run(RunCommand& command) {
  command.common.apply();
  auto json = run_model(command);
  if (!json.ok()) return report(json.error());
  if (command.common.json) {
    print_json(*json);
  } else if (!command.common.quiet) {
    fmt::print(stderr, "{} tokens, first after {:.2f} s, then {:.1f} tokens/s\n", (*json)["tokens"].get<std::int64_t>(),
               (*json)["first_token_s"].get<double>(), (*json)["tokens_per_s"].get<double>());
  }
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<RunCommand>();
  SamplerOptions& sampler = command->options.sampler;
  app.add_option("MODEL", command->model, "model folder, of any container")->required();
  app.add_option("-p,--prompt", command->prompt, "text to continue; special tokens by their text")->required();
  app.add_option("-n,--tokens", command->options.max_tokens, "most new tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--temperature", sampler.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", sampler.top_k, "sample among the K likeliest (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", sampler.top_p, "sample among the likeliest of this total probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--seed", sampler.seed, "of the sampler: the same seed gives the same text")->capture_default_str();
  app.add_flag("--ignore-eos", command->ignore_eos, "do not stop at the end-of-text token");
  add_common_options(app, command->common);
  app.footer(R"(Examples:
  vernier run models/books-6m -p "It was a dark and stormy night"
  vernier run MODEL -p "Once upon a time" -n 200 --temperature 0.8 --top-p 0.95 --seed 7)");
  return [command] { return run_run(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_run;
const CommandDescriptor command_run = {"run", "Continue a text with a model", setup};
}  // namespace units
}  // namespace vernier
