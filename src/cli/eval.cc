// vernier eval: perplexity, KL against a reference, task accuracy.
#include "eval/evaluate.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/memory.h"
#include "cli/output.h"
#include "cli/table.h"
#include "containers/container.h"
#include "io/files.h"
#include "io/text.h"

namespace vernier {
namespace {

struct EvalCommand {
  CommonOptions common;
  std::string model, against, text, tasks, protocol = "window", kv;
  EvalOptions options;
};

Result<Json> evaluate_text(const EvalCommand& command, const ModelSource& model, const Tokenizer& tokenizer) {
  std::unique_ptr<ModelSource> reference;
  if (!command.against.empty()) {
    VN_ASSIGN(reference, open_model(command.against));
  }
  VN_ASSIGN(const std::string text, read_text(command.text));
  VN_ASSIGN(const EvalResult result, evaluate(model, reference.get(), tokenizer, text, command.options));
  return to_json(result);
}

Result<Json> evaluate_all(EvalCommand& command) {
  VN_ASSIGN(command.options.protocol, parse_protocol(command.protocol));
  if (!command.kv.empty()) command.options.kv = kernels::kv_type_from_name(command.kv);
  VN_ASSIGN(const auto model, open_model(command.model));
  VN_ASSIGN(const auto tokenizer, open_tokenizer(command.model));
  Json json;
  json["model"] = command.model;
  if (!command.text.empty()) {
    VN_ASSIGN(const Json figures, evaluate_text(command, *model, *tokenizer));
    json["text"] = command.text;
    if (!command.against.empty()) json["against"] = command.against;
    json["protocol"] = command.protocol;
    json["ctx"] = command.options.ctx;
    if (!command.kv.empty()) json["kv"] = command.kv;
    json.update(figures);
  }
  if (!command.tasks.empty()) {
    VN_ASSIGN(const std::string jsonl, read_text_file(command.tasks));
    VN_ASSIGN(const TaskResult tasks, evaluate_tasks(*model, *tokenizer, jsonl, command.tasks, command.options));
    json["tasks"] = command.tasks;
    json["questions"] = tasks.questions;
    json["accuracy"] = tasks.accuracy;
    json["accuracy_normalized"] = tasks.accuracy_normalized;
    json["peak_resident_bytes"] = peak_resident_bytes();
  }
  return json;
}

std::string cell(const std::string& key, const Json& value) {
  if (key.ends_with("_bytes")) return format_bytes(value.get<std::int64_t>());
  if (key == "seconds") return fmt::format("{:.1f}", value.get<double>());
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

int run_eval(EvalCommand& command) {
  if (command.text.empty() && command.tasks.empty()) return usage_error("eval needs --text FILE or --tasks FILE");
  if (command.text.empty() && !command.against.empty()) return usage_error("--against needs --text FILE");
  if (command.text.empty() && !command.kv.empty()) return usage_error("--kv needs --text FILE");
  command.common.apply();
  auto json = evaluate_all(command);
  if (!json.ok()) return report(json.error());
  if (command.common.json) {
    print_json(*json);
    return exit_ok;
  }
  Table table({{"figure"}, {"value", Table::Align::left, true}});
  for (const auto& [key, value] : json->items()) table.add({key, cell(key, value)});
  print_table(table);
  return exit_ok;
}

std::function<int()> setup(CLI::App& app) {
  auto command = std::make_shared<EvalCommand>();
  app.add_option("MODEL", command->model, "model folder, of any container, or a .gguf file")->required();
  app.add_option("--against", command->against, "reference model folder: adds KL and top-1 agreement");
  app.add_option("--text", command->text, "text file to score");
  app.add_option("--tasks", command->tasks,
                 "JSONL of questions, {\"context\": ..., \"choices\": [...], \"answer\": index} a line");
  app.add_option("--ctx", command->options.ctx, "tokens per piece")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--tokens", command->options.max_tokens, "only the first N tokens of the text")
      ->check(CLI::PositiveNumber);
  app.add_option("--protocol", command->protocol, "which tokens are scored")
      ->check(CLI::IsMember({"window", "gptq", "llamacpp"}))
      ->capture_default_str();
  app.add_option("--kv", command->kv, "put keys and values of MODEL through a KV cache of this type")
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}));
  app.add_flag("--int8-inputs", command->options.executor.int8_inputs,
               "multiply packed weight-only models as `run` does, their inputs quantized to int8");
  app.add_flag("--simulate", command->options.executor.simulate,
               "multiply packed weights in float, inputs rounded as the integer kernels round them");
  add_bytes_option(app, "--memory", command->options.memory_bytes, "most resident memory; weights are then streamed");
  add_common_options(app, command->common);
  app.footer(R"(Protocols:
  window    pieces of ctx-1 tokens, BOS in front of each, every token scored
  gptq      one stream with BOS at its start, pieces of ctx, the first token of each not scored
  llamacpp  the same pieces with BOS as their first token, the second half scored

Examples:
  vernier eval models/books-6m --text book.txt
  vernier eval OUT --against MODEL --text book.txt --ctx 512 --memory 2G --json)");
  return [command] { return run_eval(*command); };
}

}  // namespace

namespace units {
extern const CommandDescriptor command_eval;
const CommandDescriptor command_eval = {"eval", "Perplexity, KL against a reference, task accuracy", setup};
}  // namespace units
}  // namespace vernier
