#include "pipeline/calibration_text.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"
#include "base/json.h"
#include "base/random.h"
#include "io/files.h"
#include "io/text.h"

namespace vernier {
namespace {

// Templates that write today's date are given this one, 26 July 2024 12:00 UTC (the default of Llama 3.1's), so that a
// run and its resume calibrate on the same tokens.
constexpr const char* template_date = "1721995200";

Result<ChatTemplate> open_template(const std::string& folder, const Tokenizer& tokenizer) {
  VN_ASSIGN(ChatTemplate chat, ChatTemplate::open(folder));
  if (tokenizer.bos) chat.set("bos_token", tokenizer.piece(*tokenizer.bos));
  if (!tokenizer.eos.empty()) chat.set("eos_token", tokenizer.piece(tokenizer.eos.front()));
  chat.set("now_unix_s", template_date);
  return chat;
}

Result<std::vector<ChatMessage>> parse_messages(const Json& list, const std::string& where) {
  std::vector<ChatMessage> messages;
  for (const Json& entry : list) {
    const bool usable = entry.is_object() && entry.contains("role") && entry["role"].is_string() &&
                        entry.contains("content") && entry["content"].is_string();
    if (!usable) return fail(ErrorCode::invalid, "{}: a message needs \"role\" and \"content\" strings", where);
    messages.push_back({entry["role"].get<std::string>(), entry["content"].get<std::string>()});
  }
  if (messages.empty()) return fail(ErrorCode::invalid, "{}: \"messages\" is empty", where);
  return messages;
}

// Encodes documents one at a time; opens the chat template when the first conversation comes.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, std::string folder) : tokenizer_(tokenizer), folder_(std::move(folder)) {}

  Result<std::vector<TokenId>> encode(const Json& document, const std::string& where) {
    if (document.is_object() && document.contains("text") && document["text"].is_string())
      return tokenizer_.encode(document["text"].get_ref<const std::string&>());
    if (!document.is_object() || !document.contains("messages") || !document["messages"].is_array())
      return fail(ErrorCode::invalid, "{}: wanted {{\"text\": ...}} or {{\"messages\": [...]}}", where);
    VN_ASSIGN(const auto messages, parse_messages(document["messages"], where));
    if (!template_) {
      VN_ASSIGN(template_, open_template(folder_, tokenizer_));
    }
    VN_ASSIGN(const std::string text, template_->render(messages, false));
    std::vector<TokenId> ids = tokenizer_.encode(text, true);
    // Every sample gets its BOS when it is cut.
    if (tokenizer_.bos && !ids.empty() && ids.front() == *tokenizer_.bos) ids.erase(ids.begin());
    return ids;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string folder_;
  std::optional<ChatTemplate> template_;
};

bool is_json_lines(const std::string& path) { return path.ends_with(".jsonl") || path.ends_with(".json"); }

}  // namespace

Result<std::vector<TokenId>> calibration_stream(const std::string& path, const Tokenizer& tokenizer,
                                                const std::string& model_folder) {
  VN_ASSIGN(const std::string content, read_text(path));
  if (!is_json_lines(path)) return tokenizer.encode(content);
  DocumentEncoder encoder(tokenizer, model_folder);
  std::vector<TokenId> stream;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::string line = sanitize_utf8(std::string_view(content).substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    VN_ASSIGN(const Json document, parse_json(line, where));
    VN_ASSIGN(const std::vector<TokenId> ids, encoder.encode(document, where));
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  return stream;
}

Result<std::vector<TokenId>> cut_samples(const std::vector<TokenId>& stream, std::optional<TokenId> bos,
                                         const Recipe::Calibration& options, const std::string& where) {
  const std::int64_t body = bos ? options.ctx - 1 : options.ctx;
  const auto found = static_cast<std::int64_t>(stream.size());
  const std::int64_t available = found / body;
  if (available < options.samples) {
    const std::string wanted = fmt::format("{}: {} samples of {} tokens were asked for, {} tokens found", where,
                                           options.samples, options.ctx, found);
    if (available == 0)
      return with_hint(fail(ErrorCode::invalid, "{}: not enough for one", wanted),
                       "give a longer text or a smaller --ctx");
    return with_hint(fail(ErrorCode::invalid, "{}: enough for {}", wanted, available),
                     fmt::format("--samples {} is the most that works, or give a longer text", available));
  }
  std::vector<std::int64_t> order(available);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (options.seed != 0) {
    const Random random(options.seed);
    for (std::int64_t i = 0; i < options.samples; ++i) {
      const auto j = static_cast<std::int64_t>(random.below(i, available - i));
      std::swap(order[i], order[i + j]);
    }
  }
  std::vector<TokenId> ids;
  ids.reserve(options.samples * options.ctx);
  for (std::int64_t i = 0; i < options.samples; ++i) {
    if (bos) ids.push_back(*bos);
    const auto from = stream.begin() + order[i] * body;
    ids.insert(ids.end(), from, from + body);
  }
  return ids;
}

}  // namespace vernier
