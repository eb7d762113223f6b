#include "io/chat/evaluator.h"

#include "io/chat/builtins.h"

namespace vernier::chat {
namespace {

using Kind = Expression::Kind;

Error at_line(int line, Error error) {
  if (!error.message.starts_with("line ")) error.message = fmt::format("line {}: {}", line, error.message);
  return error;
}

class Evaluator {
 public:
  Evaluator(const std::map<std::string, Value>& variables, std::time_t now, Budget& budget)
      : variables_(variables), now_(now), budget_(budget), scopes_(1) {}

  Status run(const Block& block) {
    for (const Statement& statement : block) {
      if (!budget_.spend_steps()) return at_line(statement.line, over_budget());
      Status status = execute(statement);
      if (!status.ok()) return at_line(statement.line, std::move(status).take_error());
    }
    return {};
  }

  std::string take_output() { return std::move(out_); }

 private:
  using Scope = std::map<std::string, Value, std::less<>>;

  // --- statements

  Status execute(const Statement& statement) {
    switch (statement.kind) {
      case Statement::Kind::text:
        return print(statement.text);
      case Statement::Kind::output: {
        VN_ASSIGN(const Value value, evaluate(*statement.value));
        VN_ASSIGN(const std::string text, value.text());
        return print(text);
      }
      case Statement::Kind::set:
        return assign(statement);
      case Statement::Kind::choose:
        return choose(statement);
      case Statement::Kind::loop:
        return loop(statement);
    }
    return {};
  }

  Status print(std::string_view text) {
    if (!budget_.spend_bytes(text.size())) return over_budget();
    out_ += text;
    return {};
  }

  Status assign(const Statement& statement) {
    VN_ASSIGN(Value value, evaluate(*statement.value));
    if (statement.targets.size() == 1) {
      scopes_.back()[statement.targets[0]] = std::move(value);
      return {};
    }
    const Value target = lookup(statement.targets[0]);
    if (!target.is_namespace()) {
      return fail(ErrorCode::invalid, "'{}' is no namespace; its attribute cannot be set", statement.targets[0]);
    }
    if (value.is_namespace()) return fail(ErrorCode::unsupported, "a namespace inside a namespace is not supported");
    for (auto& [name, old] : target.attributes()) {
      if (name == statement.targets[1]) {
        old = std::move(value);
        return {};
      }
    }
    target.attributes().emplace_back(statement.targets[1], std::move(value));
    return {};
  }

  Status choose(const Statement& statement) {
    for (const Branch& branch : statement.branches) {
      bool taken = true;
      if (branch.condition) {
        VN_ASSIGN(const Value condition, evaluate(*branch.condition));
        taken = condition.truthy();
      }
      if (taken) return run(branch.body);
    }
    return {};
  }

  Status bind(const std::vector<std::string>& targets, const Value& item) {
    if (targets.size() == 1) {
      scopes_.back()[targets[0]] = item;
      return {};
    }
    if (!item.is_list() || item.items().size() != targets.size()) {
      return fail(ErrorCode::invalid, "{} does not unpack into {} names", item.kind(), targets.size());
    }
    for (std::size_t i = 0; i < targets.size(); ++i) scopes_.back()[targets[i]] = item.items()[i];
    return {};
  }

  // Each pass has a scope of its own: what is set inside is gone at its end.
  Status loop(const Statement& statement) {
    VN_ASSIGN(const Value over, evaluate(*statement.value));
    VN_ASSIGN(List items, iterate(over, budget_));
    if (statement.condition) {
      List kept;
      for (Value& item : items) {
        scopes_.emplace_back();
        VN_TRY(bind(statement.targets, item));
        VN_ASSIGN(const Value condition, evaluate(*statement.condition));
        scopes_.pop_back();
        if (condition.truthy()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return run(statement.otherwise);
    for (std::size_t i = 0; i < items.size(); ++i) {
      scopes_.emplace_back();
      VN_TRY(bind(statement.targets, items[i]));
      VN_ASSIGN(scopes_.back()["loop"], loop_variable(items, i));
      VN_TRY(run(statement.body));
      scopes_.pop_back();
    }
    return {};
  }

  Result<Value> loop_variable(const List& items, std::size_t i) {
    const auto number = [](std::size_t n) { return Value(static_cast<std::int64_t>(n)); };
    const std::size_t n = items.size();
    return Value::map({{"index", number(i + 1)},
                       {"index0", number(i)},
                       {"revindex", number(n - i)},
                       {"revindex0", number(n - i - 1)},
                       {"first", Value(i == 0)},
                       {"last", Value(i + 1 == n)},
                       {"length", number(n)},
                       {"previtem", i > 0 ? items[i - 1] : Value(Value::Undefined{"loop.previtem"})},
                       {"nextitem", i + 1 < n ? items[i + 1] : Value(Value::Undefined{"loop.nextitem"})}},
                      budget_);
  }

  // --- expressions

  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto it = scope->find(name); it != scope->end()) return it->second;
    }
    if (const auto it = variables_.find(name); it != variables_.end()) return it->second;
    if (name == "range") return Function::range;
    if (name == "namespace") return Function::make_namespace;
    if (name == "raise_exception") return Function::raise_exception;
    if (name == "strftime_now") return Function::strftime_now;
    return Value::Undefined{name};
  }

  Result<Value> evaluate(const Expression& node) {
    if (!budget_.spend_steps()) return at_line(node.line, over_budget());
    Result<Value> value = evaluate_node(node);
    if (!value.ok()) return at_line(node.line, std::move(value).take_error());
    return value;
  }

  Result<Value> evaluate_node(const Expression& node) {
    switch (node.kind) {
      case Kind::literal:
        return node.value;
      case Kind::variable:
        return lookup(node.name);
      case Kind::list:
        return list(node);
      case Kind::map:
        return map(node);
      case Kind::attribute: {
        VN_ASSIGN(const Value of, evaluate(*node.operands[0]));
        return subscript(of, Value(node.name), budget_);
      }
      case Kind::index:
        return index(node);
      case Kind::slice:
        return cut(node);
      case Kind::call:
        return call(node);
      case Kind::filter: {
        VN_ASSIGN(const Value input, evaluate(*node.operands[0]));
        VN_ASSIGN(const Arguments given, arguments(node));
        return apply_filter(node.name, input, given, budget_);
      }
      case Kind::test: {
        VN_ASSIGN(const Value input, evaluate(*node.operands[0]));
        VN_ASSIGN(const Arguments given, arguments(node));
        VN_ASSIGN(const bool holds, apply_test(node.name, input, given.positional, budget_));
        return Value(holds);
      }
      case Kind::unary:
        return unary(node);
      case Kind::binary:
        return binary(node);
      case Kind::conditional: {
        VN_ASSIGN(const Value condition, evaluate(*node.operands[1]));
        return evaluate(*node.operands[condition.truthy() ? 0 : 2]);
      }
    }
    return Value();
  }

  Result<Value> list(const Expression& node) {
    List items;
    for (const ExpressionPtr& operand : node.operands) {
      VN_ASSIGN(Value item, evaluate(*operand));
      items.push_back(std::move(item));
    }
    return Value::list(std::move(items), budget_);
  }

  Result<Value> map(const Expression& node) {
    Map entries;
    for (std::size_t i = 0; i < node.operands.size(); i += 2) {
      VN_ASSIGN(const Value key, evaluate(*node.operands[i]));
      VN_ASSIGN(Value value, evaluate(*node.operands[i + 1]));
      if (!key.is_string()) return fail(ErrorCode::unsupported, "{} as a key is not supported", key.kind());
      std::erase_if(entries, [&](const auto& entry) { return entry.first == key.string(); });
      entries.emplace_back(key.string(), std::move(value));
    }
    return Value::map(std::move(entries), budget_);
  }

  Result<Value> index(const Expression& node) {
    VN_ASSIGN(const Value of, evaluate(*node.operands[0]));
    VN_ASSIGN(const Value key, evaluate(*node.operands[1]));
    return subscript(of, key, budget_);
  }

  Result<Value> cut(const Expression& node) {
    VN_ASSIGN(const Value of, evaluate(*node.operands[0]));
    VN_ASSIGN(const Value start, evaluate(*node.operands[1]));
    VN_ASSIGN(const Value stop, evaluate(*node.operands[2]));
    VN_ASSIGN(const Value step, evaluate(*node.operands[3]));
    return slice(of, start, stop, step, budget_);
  }

  Result<Value> unary(const Expression& node) {
    VN_ASSIGN(const Value operand, evaluate(*node.operands[0]));
    if (node.name == "not") return Value(!operand.truthy());
    return apply_operator(node.name, Value(std::int64_t{0}), operand, budget_);
  }

  Result<Value> binary(const Expression& node) {
    VN_ASSIGN(Value left, evaluate(*node.operands[0]));
    if (node.name == "and" || node.name == "or") {  // the value of the operand that decides
      if (left.truthy() == (node.name == "or")) return left;
      return evaluate(*node.operands[1]);
    }
    VN_ASSIGN(const Value right, evaluate(*node.operands[1]));
    return apply_operator(node.name, left, right, budget_);
  }

  Result<Arguments> arguments(const Expression& node) {
    Arguments out;
    for (std::size_t i = 1; i < node.operands.size(); ++i) {
      VN_ASSIGN(Value value, evaluate(*node.operands[i]));
      out.positional.push_back(std::move(value));
    }
    for (const auto& [name, operand] : node.named) {
      VN_ASSIGN(Value value, evaluate(*operand));
      out.named.emplace_back(name, std::move(value));
    }
    return out;
  }

  Result<Value> call(const Expression& node) {
    const Expression& callee = *node.operands[0];
    VN_ASSIGN(const Arguments given, arguments(node));
    if (callee.kind == Kind::attribute) {
      VN_ASSIGN(const Value self, evaluate(*callee.operands[0]));
      return call_method(callee.name, self, given, budget_);
    }
    VN_ASSIGN(const Value target, evaluate(callee));
    if (const auto function = target.function()) return call_function(*function, given);
    if (target.is_undefined()) {
      return fail(ErrorCode::unsupported, "function \"{}\" is not supported", target.undefined_name());
    }
    return fail(ErrorCode::invalid, "{} cannot be called", target.kind());
  }

  Result<Value> call_function(Function function, const Arguments& given) {
    switch (function) {
      case Function::range:
        return range(given);
      case Function::make_namespace:
        return make_namespace(given);
      case Function::raise_exception: {
        const Value* message = given.get(0, "message");
        std::string text = "no reason given";
        if (message) {
          VN_ASSIGN(text, message->text());
        }
        return fail(ErrorCode::invalid, "the template refuses the messages: {}", text);
      }
      case Function::strftime_now:
        return strftime_now(given);
    }
    return Value();
  }

  Result<Value> range(const Arguments& given) {
    std::vector<std::int64_t> bounds;
    for (const Value& value : given.positional) {
      if (!value.integer()) return fail(ErrorCode::invalid, "range of {}", value.kind());
      bounds.push_back(*value.integer());
    }
    if (bounds.size() == 1) bounds.insert(bounds.begin(), 0);
    if (bounds.size() == 2) bounds.push_back(1);
    if (bounds.size() != 3 || bounds[2] == 0) return fail(ErrorCode::invalid, "range takes one to three integers");
    List items;
    for (std::int64_t at = bounds[0]; bounds[2] > 0 ? at < bounds[1] : at > bounds[1];) {
      if (!budget_.spend_steps() || !budget_.spend_bytes(4 * sizeof(Value))) return over_budget();
      items.emplace_back(at);
      if (__builtin_add_overflow(at, bounds[2], &at)) break;
    }
    return Value::list(std::move(items), budget_);
  }

  Result<Value> make_namespace(const Arguments& given) {
    if (!given.positional.empty()) return fail(ErrorCode::unsupported, "namespace of a map is not supported");
    // The map is made for its checks: no namespace inside, bounded size.
    VN_ASSIGN(const Value checked, Value::map(given.named, budget_));
    return Value::make_namespace(checked.entries());
  }

  Result<Value> strftime_now(const Arguments& given) {
    const Value* format = given.get(0, "format");
    if (!format || !format->is_string()) return fail(ErrorCode::invalid, "strftime_now takes a format");
    std::tm time{};
    localtime_r(&now_, &time);
    char text[256];
    const std::size_t size = std::strftime(text, sizeof text, format->string().c_str(), &time);
    return Value(std::string(text, size));
  }

  const std::map<std::string, Value>& variables_;
  std::time_t now_;
  Budget& budget_;
  std::vector<Scope> scopes_;
  std::string out_;
};

}  // namespace

Result<std::string> render(const Block& block, const std::map<std::string, Value>& variables, std::time_t now,
                           Budget& budget) {
  Evaluator evaluator(variables, now, budget);
  VN_TRY(evaluator.run(block));
  return evaluator.take_output();
}

}  // namespace vernier::chat
