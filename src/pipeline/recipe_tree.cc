#include "pipeline/recipe_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "base/fail.h"

namespace vernier {
namespace {

constexpr std::size_t kMaxTextBytes = 1 << 20;
constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxNodes = 1 << 16;
constexpr std::size_t kMaxKeys = 256;  // of one map

// Thrown through yaml-cpp, caught in parse_recipe_tree.
struct Refusal {
  Error error;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view where, bool lines) : where_(where), lines_(lines) {}

  RecipeNode take() { return root_ ? std::move(*root_) : RecipeNode{}; }

  std::string at(const YAML::Mark& mark) const {
    return lines_ && !mark.is_null() ? fmt::format("{}:{}", where_, mark.line + 1) : where_;
  }

 private:
  struct Frame {
    RecipeNode node;
    std::optional<std::string> key;  // map: read, its value still to come
  };

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(make(mark, anchor)); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, "aliases are not part of a recipe"); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RecipeNode node = make(mark, anchor);
    node.kind = RecipeNode::Kind::scalar;
    node.text = value;
    node.quoted = tag == "!";  // what yaml-cpp reports for quoted and block scalars; "?" for plain ones
    if (!node.quoted && tag != "?") refuse(mark, "tags are not part of a recipe");
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, RecipeNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, RecipeNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

  [[noreturn]] void refuse(const YAML::Mark& mark, std::string_view why) const {
    throw Refusal{fail(ErrorCode::invalid, "{}: {}", at(mark), why)};
  }

  RecipeNode make(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(mark, "anchors are not part of a recipe");
    if (++nodes_ > kMaxNodes) refuse(mark, "too many values for a recipe");
    RecipeNode node;
    node.where = at(mark);
    return node;
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, RecipeNode::Kind kind) {
    RecipeNode node = make(mark, anchor);
    node.kind = kind;
    if (stack_.size() >= kMaxDepth) refuse(mark, fmt::format("nested deeper than {} levels", kMaxDepth));
    stack_.push_back({std::move(node), std::nullopt});
  }

  void close() {
    RecipeNode node = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(node));
  }

  void add(RecipeNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node.kind == RecipeNode::Kind::list) {
      top.node.children.push_back(std::move(node));
    } else if (top.key) {
      top.node.keys.push_back(*std::move(top.key));
      top.node.children.push_back(std::move(node));
      top.key.reset();
    } else {
      if (node.kind != RecipeNode::Kind::scalar)
        throw Refusal{fail(ErrorCode::invalid, "{}: wanted a key, found {}", node.where, node.found())};
      if (top.node.find(node.text))
        throw Refusal{fail(ErrorCode::invalid, "{}: key \"{}\" is given twice", node.where, node.text)};
      if (top.node.keys.size() >= kMaxKeys)
        throw Refusal{fail(ErrorCode::invalid, "{}: more than {} keys in one map", node.where, kMaxKeys)};
      top.key = std::move(node.text);
    }
  }

  std::string where_;
  bool lines_;
  std::size_t nodes_ = 0;
  std::vector<Frame> stack_;
  std::optional<RecipeNode> root_;
};

}  // namespace

RecipeNode* RecipeNode::find(std::string_view key) {
  const auto it = std::find(keys.begin(), keys.end(), key);
  return it == keys.end() ? nullptr : &children[it - keys.begin()];
}

RecipeNode& RecipeNode::put(std::string key, RecipeNode child) {
  if (RecipeNode* present = find(key)) return *present = std::move(child);
  keys.push_back(std::move(key));
  children.push_back(std::move(child));
  return children.back();
}

std::string RecipeNode::found() const {
  constexpr std::size_t kShown = 60;
  switch (kind) {
    case Kind::null:
      return "nothing";
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a map";
    case Kind::scalar:
      return text.size() <= kShown ? fmt::format("\"{}\"", text) : fmt::format("\"{}...\"", text.substr(0, kShown));
  }
  return {};
}

Result<RecipeNode> parse_recipe_tree(std::string_view yaml, std::string_view where, bool lines) {
  if (yaml.size() > kMaxTextBytes)
    return fail(ErrorCode::invalid, "{}: {} bytes are too many for a recipe; at most {}", where, yaml.size(),
                kMaxTextBytes);
  TreeBuilder builder(where, lines);
  try {
    std::istringstream stream{std::string(yaml)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return RecipeNode{.where = std::string(where)};
    RecipeNode root = builder.take();
    if (parser.HandleNextDocument(builder))
      return fail(ErrorCode::invalid, "{}: more than one YAML document; wanted one", where);
    return root;
  } catch (Refusal& refusal) {
    return std::move(refusal.error);
  } catch (const YAML::Exception& e) {
    return fail(ErrorCode::invalid, "{}: not valid YAML: {}", builder.at(e.mark), e.msg);
  } catch (const std::exception& e) {
    return fail(ErrorCode::invalid, "{}: not valid YAML: {}", where, e.what());
  }
}

}  // namespace vernier
