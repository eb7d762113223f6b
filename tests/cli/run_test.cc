// vernier run beyond a plain prompt: stop strings, the KV cache, chat.
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "support/support.h"

namespace vernier {
namespace {

namespace fs = std::filesystem;
using Outcome = testing::Run;  // inside a test, Run is a member of GoogleTest
using testing::run_vernier;

// The bundled model with a chat template of its own.
class CliRun : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const auto& file : fs::directory_iterator(testing::bundled_model()))
      fs::create_symlink(file.path(), dir_.path(file.path().filename()));
    set_template("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] ");
  }
  void set_template(const std::string& text) { std::ofstream(dir_.path("chat_template.jinja")) << text; }

  Json json(std::vector<std::string> more, const std::string& input = {}) {
    std::vector<std::string> arguments{"run", dir_.path(), "--json", "-n", "16"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome run = run_vernier(arguments, 0, input);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    auto parsed = parse_json(run.out, "stdout");
    EXPECT_TRUE(parsed.ok()) << run.out;
    return parsed.ok() ? std::move(parsed).value() : Json();
  }
  void refuses(std::vector<std::string> more, const std::string& words) {
    more.insert(more.begin(), {"run", dir_.path()});
    const Outcome run = run_vernier(more, 0, "Hello\n");
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find(words), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("hint: "), std::string::npos) << run.err;
  }

  testing::TempDir dir_;
};

TEST_F(CliRun, StopsAtAString) {
  const Json free = json({"-p", "The man said"});
  EXPECT_EQ(free["finish"], "length");
  const std::string text = free["text"], stop = text.substr(text.size() / 2, 4);
  const Json stopped = json({"-p", "The man said", "--stop", "never said", "--stop", stop});
  EXPECT_EQ(stopped["finish"], "stop");
  EXPECT_EQ(stopped["text"], text.substr(0, text.find(stop)));
}

TEST_F(CliRun, EveryKvTypeRuns) {
  for (const char* type : {"f32", "f16", "int8", "int4"})
    EXPECT_EQ(json({"-p", "The man said", "--kv", type})["tokens"], 16) << type;
}

TEST_F(CliRun, ChatKeepsTheConversation) {
  const Json two = json({"--chat", "--system", "Be brief."}, "Who are you?\n\nAnd where?\n");
  ASSERT_EQ(two["turns"].size(), 2u);
  EXPECT_EQ(two["turns"][1]["user"], "And where?");
  // The second turn is the template on everything said so far.
  const std::string reply = two["turns"][0]["text"];
  const Json same = json(
      {"-p", "[system] Be brief.\n[user] Who are you?\n[assistant] " + reply + "\n[user] And where?\n[assistant] "});
  EXPECT_EQ(two["turns"][1]["ids"], same["ids"]);

  const Outcome shown =
      run_vernier({"run", dir_.path(), "--chat", "-n", "16", "--system", "Be brief."}, 0, "Who are you?\n");
  EXPECT_EQ(shown.out, reply + "\n");
  EXPECT_TRUE(json({"--chat"})["turns"].empty());
}

TEST_F(CliRun, RefusalsSayWhatToDo) {
  std::string long_text;
  for (int i = 0; i < 600; ++i) long_text += " word";
  refuses({"-p", long_text}, "the context holds 512");
  refuses({"-p", "one two three four five six", "--ctx", "4"}, "the context holds 4");
  refuses({"-p", "a", "--ctx", "513"}, "exceeds the 512 positions");
  refuses({"--chat", "--ctx", "5"}, "the context holds 5");
  fs::remove(dir_.path("chat_template.jinja"));
  refuses({"--chat"}, "no \"chat_template\"");
}

TEST_F(CliRun, NamesWhatATemplateMayNotUse) {
  set_template("{% macro f() %}{% endmacro %}");
  const Outcome run = run_vernier({"run", dir_.path(), "--chat"}, 0, "Hello\n");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.err.find("{% macro %} is not supported"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace vernier
