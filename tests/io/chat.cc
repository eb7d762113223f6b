#include <nlohmann/json.hpp>

#include "base/json.h"
#include "io/files.h"
#include "support/support.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

using testing::source_dir;
using testing::TempDir;

constexpr const char* noon_of_a_leap_day = "1709208000";  // 2024-02-29 12:00 UTC, as in make_chat.py

std::string rendered(const std::string& source, const std::vector<ChatMessage>& messages = {}) {
  auto chat = ChatTemplate::parse(source, "t");
  if (!chat.ok()) return "ERROR " + chat.error().message;
  auto text = chat->render(messages, false);
  return text.ok() ? *text : "ERROR " + text.error().message;
}

TEST(ChatTemplate, MatchesJinja) {
  auto text = read_text_file(source_dir() + "/tests/golden/chat.json");
  VN_ASSERT_OK(text);
  auto golden = parse_json(*text, "chat.json");
  VN_ASSERT_OK(golden);
  ASSERT_GT((*golden)["templates"].size(), 25u);
  for (const Json& entry : (*golden)["templates"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    auto chat = ChatTemplate::parse(entry["template"].get<std::string>(), "golden");
    VN_ASSERT_OK(chat);
    chat->set("bos_token", "<s>");
    chat->set("eos_token", "</s>");
    chat->set("now_unix_s", noon_of_a_leap_day);
    for (const Json& c : entry["cases"]) {
      std::vector<ChatMessage> messages;
      for (const Json& turn : (*golden)["conversations"][c["conversation"].get<std::string>()]) {
        messages.push_back({turn[0].get<std::string>(), turn[1].get<std::string>()});
      }
      auto out = chat->render(messages, c["generate"].get<bool>());
      if (c.contains("error")) {
        ASSERT_FALSE(out.ok()) << c["conversation"];
        EXPECT_NE(out.error().message.find(c["error"].get<std::string>()), std::string::npos) << out.error().message;
      } else {
        VN_ASSERT_OK(out);
        EXPECT_EQ(*out, c["text"].get<std::string>()) << c["conversation"];
      }
    }
  }
}

TEST(ChatTemplate, RefusalsNameConstructAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n{% macro f() %}{% endmacro %}", "line 2: {% macro %} is not supported"},
      {"{{ 1 |\n sorcery }}", "line 2: filter \"sorcery\" is not supported"},
      {"{{ 1 is\nperfect }}", "test \"perfect\" is not supported"},
      {"\n\n{{ 'a'.encode() }}", "line 3: method \"encode\" of a string is not supported"},
      {"{{ cycler(1) }}", "function \"cycler\" is not supported"},
      {"{% if 1 %}\n{% for %}", "line 2: expected a name"},
      {"{% if 1 %}a", "expected {% endif %}"},
      {"{% else %}", "{% else %} is not supported"},
      {"{{ 'a }}", "without its closing quote"},
      {"{{ 1", "{{ without }}"},
      {"{# x", "a comment without #}"},
      {"{{ (1, 2) }}", "a tuple is not supported"},
      {"{{ 1 < 2 < 3 }}", "a chain of comparisons"},
      {"{{ 2 ** 3 }}", "** is not supported"},
      {"{{ ! }}", "unexpected character '!'"},
      {"{{ nothing.here }}", "'nothing' is undefined"},
      {"{{ nothing + 'a' }}", "'nothing' is undefined"},
      {"{{ 1 + 'a' }}", "an integer + a string"},
      {"{{ 1 // 0 }}", "division by zero"},
      {"{{ 9223372036854775 * 9999999 }}", "overflows"},
      {"{{ [1] }}", "a list as text"},
      {"{% set x.y = 1 %}", "no namespace"},
      {"{% for a, b in [1] %}{% endfor %}", "does not unpack"},
      {"{{ 'abc'[::0] }}", "step 0"},
      {"{{ raise_exception('enough') }}", "enough"},
      {"{{ 99999999999999999999 }}", "too many digits"},
  };
  for (const auto& [source, expected] : cases) {
    const std::string out = rendered(source);
    EXPECT_TRUE(out.starts_with("ERROR t: chat template: line ")) << source << " gave " << out;
    EXPECT_NE(out.find(expected), std::string::npos) << source << " gave " << out;
  }
}

TEST(ChatTemplate, HostileTemplatesAreBounded) {
  const std::string open(5000, '('), close(5000, ')');
  std::string nested_ifs, long_sum = "{{ 1", unary = "{{ ";
  for (int i = 0; i < 5000; ++i) {
    nested_ifs += "{% if 1 %}";
    long_sum += " + 1";
    unary += "- ";
  }
  for (const std::string& source :
       {"{{ " + open + "1" + close + " }}", nested_ifs, long_sum + " }}", unary + "1 }}",
        std::string("{% for i in range(1000000000) %}{% endfor %}"),
        std::string("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}"),
        std::string("{% set n = namespace(s='x') %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}"),
        std::string(
            "{% set n = namespace(s='x') %}{% for i in range(64) %}{% set n.s = n.s.replace('x', 'xx') %}{% endfor %}"),
        std::string("{% set n = namespace(s='x') %}{% for i in range(80) %}{% set n.s = [n.s, n.s] %}{% endfor %}"),
        std::string("{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}"
                    "{{ n.s|tojson }}"),
        std::string("{% set n = namespace(s='x', t='x') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}"
                    "{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}"),
        std::string("{% set n = namespace() %}{% set n.s = n %}"),
        std::string("{% set n = namespace() %}{% set n.s = [n] %}"),
        std::string("{{ [1]|tojson(indent=1000000000) }}")}) {
    const std::string out = rendered(source);
    EXPECT_TRUE(out.starts_with("ERROR")) << source.substr(0, 200) << " gave " << out.substr(0, 200);
  }
}

TEST(ChatTemplate, MalformedTextNeverCrashes) {
  const std::string source =
      "{% set n = namespace(a=[1, {'k': 'v'}]) %}{%- for m in messages[::-1] if m.role != 'x' -%}\n{{ m.content|trim ~ "
      "loop.index0 }}{% if m is mapping and not (m.x is defined) %}{{ n.a[1]['k'][0:] }}{% elif 1 %}{% endif %}{% "
      "endfor %}";
  const std::vector<ChatMessage> messages = {{"user", "a"}, {"assistant", "b\xFF"}};
  EXPECT_FALSE(rendered(source, messages).starts_with("ERROR"));
  for (std::size_t i = 0; i < source.size(); ++i) {
    rendered(source.substr(0, i), messages);
    rendered(source.substr(i), messages);
    for (const char c : {'{', '}', '%', '\'', '(', '[', '.', '-', '\n', '\xFF', 'i'}) {
      std::string changed = source;
      changed[i] = c;
      rendered(changed, messages);
    }
  }
}

class ChatFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    VN_EXPECT_OK(write_file_atomic(dir_.path(name), text));
  }
  std::string render() {
    auto chat = ChatTemplate::open(dir_.path());
    if (!chat.ok()) return "ERROR " + chat.error().text();
    auto text = chat->render({{"user", "hi"}}, true);
    return text.ok() ? *text : "ERROR " + text.error().text();
  }
  TempDir dir_;
};

TEST_F(ChatFolder, ReadsTheConfigAndItsTokens) {
  write("tokenizer_config.json", R"({"bos_token": {"content": "<b>"}, "eos_token": "<e>",
    "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"})");
  EXPECT_EQ(render(), "<b>hi<e>");
}

TEST_F(ChatFolder, TakesTheDefaultOfAList) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "no"},
    {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(render(), "yes");
}

TEST_F(ChatFolder, PrefersTheJinjaFile) {
  write("tokenizer_config.json", R"({"chat_template": "config", "bos_token": "<b>"})");
  write("chat_template.jinja", "file {{ bos_token }}");
  EXPECT_EQ(render(), "file <b>");
}

TEST_F(ChatFolder, AbsentTemplateIsNotFound) {
  auto nothing = ChatTemplate::open(dir_.path());
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code, ErrorCode::not_found);
  EXPECT_FALSE(nothing.error().hint.empty());
  write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_TRUE(render().starts_with("ERROR"));
  write("tokenizer_config.json", R"([1])");
  EXPECT_TRUE(render().starts_with("ERROR"));
  write("tokenizer_config.json", R"({)");
  EXPECT_TRUE(render().starts_with("ERROR"));
}

}  // namespace
}  // namespace vernier
