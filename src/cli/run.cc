// vernier run: continue a text, or chat.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "base/interrupt.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cli/output.h"
#include "cli/text_session.h"

namespace vernier {
namespace {

constexpr std::int64_t kChatContext = 4096;  // or the model's, where that is smaller

struct RunCommand {
  CommonOptions common;
  std::string model, prompt, system, kv;
  bool chat = false, pin = false;
  TextOptions options;
};

void show(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// No more positions than the model has, where it says so.
std::int64_t within_model(const ModelGraph& graph, std::int64_t positions) {
  return graph.max_positions > 0 ? std::min(graph.max_positions, positions) : positions;
}

Result<Json> run_prompt(const RunCommand& command) {
  VN_ASSIGN(const auto session, TextSession::open(command.model, command.options));
  VN_ASSIGN(const std::vector<TokenId> prompt, session->encode(command.prompt));
  const std::int64_t needed = static_cast<std::int64_t>(prompt.size()) + command.options.max_tokens;
  VN_TRY(session->set_context(command.options.context > 0 ? command.options.context
                                                          : within_model(session->graph(), needed)));
  if (command.options.show) {
    StreamDecoder decoder(session->tokenizer());
    for (const TokenId id : prompt) show(decoder.push(id));
  }
  VN_ASSIGN(const Continuation result, session->continue_text(prompt));
  if (command.options.show) show("\n");
  Json json = result.json();
  json["prompt"] = command.prompt;
  json["peak_resident_bytes"] = peak_resident_bytes();
  return json;
}

// One line of stdin a turn, until its end.
Result<Json> run_chat(const RunCommand& command) {
  VN_ASSIGN(const ChatTemplate chat, ChatTemplate::open(command.model));
  VN_ASSIGN(const auto session, TextSession::open(command.model, command.options));
  VN_TRY(session->set_context(command.options.context > 0 ? command.options.context
                                                          : within_model(session->graph(), kChatContext)));
  std::vector<ChatMessage> messages;
  if (!command.system.empty()) messages.push_back({"system", command.system});
  const bool asks = isatty(STDIN_FILENO) && !command.common.quiet && !command.common.json;
  Json turns = Json::array();
  std::int64_t tokens = 0;
  double seconds = 0;
  for (std::string line; !interrupted();) {
    if (asks) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    messages.push_back({"user", line});
    VN_ASSIGN(const std::string text, chat.render(messages, true));
    VN_ASSIGN(const std::vector<TokenId> prompt, session->encode(text));
    VN_ASSIGN(const Continuation reply, session->continue_text(prompt));
    if (command.options.show) show("\n");
    messages.push_back({"assistant", reply.completion.text});
    Json turn = reply.json();
    turn["user"] = line;
    turns.push_back(std::move(turn));
    tokens += static_cast<std::int64_t>(reply.completion.tokens.size());
    seconds += reply.seconds;
  }
  Json json;
  json["turns"] = std::move(turns);
  json["tokens"] = tokens;
  json["first_token_s"] = json["turns"].empty() ? 0.0 : json["turns"][0]["first_token_s"].get<double>();
  json["tokens_per_s"] = seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  json["peak_resident_bytes"] = peak_resident_bytes();
  return json;
}

int run_run(RunCommand& command, bool has_prompt) {
  if (command.chat == has_prompt) return usage_error("run needs -p TEXT or --chat, and not both");
  if (!command.chat && !command.system.empty()) return usage_error("--system needs --chat");
  command.common.apply();
  if (command.pin) pin_threads(true);
  command.options.kv = kernels::kv_type_from_name(command.kv);
  command.options.show = !command.common.json;
  auto json = command.chat ? run_chat(command) : run_prompt(command);
  if (!json.ok()) return report(json.error());
  if (command.common.json) {
    print_json(*json);
  } else if (!command.common.quiet) {
    fmt::print(stderr, "{} tokens, first after {:.2f} s, then {:.1f} tokens/s\n", (*json)["tokens"].get<std::int64_t>(),
               (*json)["first_token_s"].get<double>(), (*json)["tokens_per_s"].get<double>());
  }
  return exit_ok;
}

void add_sampler_options(CLI::App& app, SamplerOptions& sampler) {
  app.add_option("--temperature", sampler.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", sampler.top_k, "sample among the K likeliest (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", sampler.top_p, "sample among the likeliest of this total probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--min-p", sampler.min_p, "leave out tokens below this share of the likeliest one's probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--repetition-penalty", sampler.repetition_penalty, "above 1: tokens seen before become less likely")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str();
  app.add_option("--seed", sampler.seed, "of the sampler: the same seed gives the same text")->capture_default_str();
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<RunCommand>();
  TextOptions& options = command->options;
  app.add_option("MODEL", command->model, "model folder, of any container, or a .gguf file")->required();
  auto* prompt = app.add_option("-p,--prompt", command->prompt, "text to continue; special tokens by their text");
  app.add_flag("--chat", command->chat, "a turn for each line of stdin, with the model's chat template");
  app.add_option("--system", command->system, "system message of the chat");
  app.add_option("-n,--tokens", options.max_tokens, "most new tokens (of a turn)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--ctx", options.context, "most tokens of a text (default: what is needed; --chat: 4096)")
      ->check(CLI::PositiveNumber);
  app.add_option("--kv", command->kv,
                 "element type of the KV cache (default: f16, or what the model's config asks for)")
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  app.add_flag("--float-inputs", options.float_inputs, "multiply packed weight-only models in float (slower, exact)");
  app.add_option("--stop", options.stop_strings, "end the text where TEXT would appear (may be repeated)")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->check([](const std::string& text) { return text.empty() ? std::string("must not be empty") : std::string(); });
  add_sampler_options(app, options.sampler);
  app.add_flag("--ignore-eos", options.ignore_eos, "do not stop at the end-of-text token");
  app.add_flag("--pin", command->pin, "bind each worker thread to a core");
  add_common_options(app, command->common);
  app.footer(R"(Examples:
  vernier run models/books-6m -p "It was a dark and stormy night"
  vernier run MODEL -p "Once upon a time" -n 200 --temperature 0.8 --top-p 0.95 --seed 7
  vernier run MODEL --chat --system "Answer in one sentence." --kv int8)");
  return [command, prompt] { return run_run(*command, prompt->count() > 0); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_run;
const CommandDescriptor command_run = {"run", "Continue a text with a model, or chat", setup};
}  // namespace units
}  // namespace vernier
