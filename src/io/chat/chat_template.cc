#include <charconv>
#include <ctime>
#include <map>

#include "base/fail.h"
#include "base/json.h"
#include "io/chat/evaluator.h"
#include "io/chat/syntax.h"
#include "io/files.h"
#include "io/gguf/checkpoint.h"
#include "io/tokenizer/gguf_tokenizer.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

constexpr std::size_t max_template_bytes = 1 << 20;
constexpr std::int64_t max_config_bytes = 64 << 20;

// A string, or a list of {"name", "template"} of which one is called "default".
Result<std::string> template_of_config(const Json& config, const std::string& path) {
  const Json none;
  const Json& value = config.is_object() && config.contains("chat_template") ? config["chat_template"] : none;
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    for (const Json& entry : value) {
      if (entry.is_object() && entry.value("name", none) == "default" && entry.value("template", none).is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  return with_hint(fail(ErrorCode::not_found, "{}: no \"chat_template\"", path),
                   "put the model's template into chat_template.jinja beside it, or calibrate on plain text");
}

}  // namespace

struct ChatTemplate::State {
  std::string where;
  chat::Block block;
  std::map<std::string, chat::Value> variables;
  // The moment strftime_now() tells; unset is the time of rendering.
  std::optional<std::time_t> now;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

Result<ChatTemplate> ChatTemplate::open(const std::string& folder) {
  if (is_gguf_path(folder)) {
    VN_ASSIGN(const GgufChat found, read_gguf_chat(folder));
    VN_ASSIGN(ChatTemplate chat, parse(found.chat_template, folder));
    chat.set("bos_token", found.bos);
    chat.set("eos_token", found.eos);
    return chat;
  }
  const std::string config_path = folder + "/tokenizer_config.json", jinja_path = folder + "/chat_template.jinja";
  Json config = Json::object();
  if (file_exists(config_path)) {
    VN_ASSIGN(const std::string text, read_text_file(config_path, max_config_bytes));
    VN_ASSIGN(config, parse_json(text, config_path));
  }
  std::string source, where = config_path;
  if (file_exists(jinja_path)) {
    where = jinja_path;
    VN_ASSIGN(source, read_text_file(jinja_path, max_template_bytes));
  } else {
    VN_ASSIGN(source, template_of_config(config, config_path));
  }
  VN_ASSIGN(ChatTemplate chat, parse(source, where));
  for (const std::string key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (!config.is_object() || !config.contains(key)) continue;
    const Json& token =
        config[key].is_object() && config[key].contains("content") ? config[key]["content"] : config[key];
    if (token.is_string()) chat.set(key, token.get<std::string>());
  }
  return chat;
}

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string_view where) {
  if (source.size() > max_template_bytes) {
    return fail(ErrorCode::unsupported, "{}: a chat template of {} bytes; at most {} are handled", where, source.size(),
                max_template_bytes);
  }
  auto state = std::make_unique<State>();
  state->where = where;
  auto block = chat::parse_template(sanitize_utf8(source));
  if (!block.ok()) {
    Error error = std::move(block).take_error();
    error.message = fmt::format("{}: chat template: {}", where, error.message);
    return error;
  }
  state->block = std::move(block).value();
  return ChatTemplate(std::move(state));
}

void ChatTemplate::set(std::string name, std::string value) {
  if (name == "now_unix_s") {
    std::int64_t seconds = 0;
    std::from_chars(value.data(), value.data() + value.size(), seconds);
    state_->now = static_cast<std::time_t>(seconds);
    return;
  }
  state_->variables[std::move(name)] = chat::Value(std::move(value));
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const {
  chat::Budget budget;
  auto rendered = [&]() -> Result<std::string> {
    std::vector<chat::Value> turns;
    for (const ChatMessage& message : messages) {
      VN_ASSIGN(chat::Value turn,
                chat::Value::map({{"role", sanitize_utf8(message.role)}, {"content", sanitize_utf8(message.content)}},
                                 budget));
      turns.push_back(std::move(turn));
    }
    auto variables = state_->variables;
    VN_ASSIGN(variables["messages"], chat::Value::list(std::move(turns), budget));
    variables["add_generation_prompt"] = add_generation_prompt;
    variables["tools"] = chat::Value();
    variables["documents"] = chat::Value();
    return chat::render(state_->block, variables, state_->now.value_or(std::time(nullptr)), budget);
  }();
  if (rendered.ok()) return rendered;
  Error error = std::move(rendered).take_error();
  error.message = fmt::format("{}: chat template: {}", state_->where, error.message);
  return error;
}

}  // namespace vernier
