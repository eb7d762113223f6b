#include "base/json.h"

#include <set>

#include "base/fail.h"

namespace vernier {
namespace {

constexpr int max_depth = 128;

// Builds the document while watching depth and duplicate keys, which nlohmann's own builder lets pass.
class StrictBuilder : public nlohmann::detail::json_sax_dom_parser<Json> {
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;

 public:
  explicit StrictBuilder(Json& root) : Base(root, /*allow_exceptions=*/false) {}
  std::string problem;

  bool start_object(std::size_t size) {
    keys_.emplace_back();
    return deeper() && Base::start_object(size);
  }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return Base::end_object();
  }
  bool start_array(std::size_t size) { return deeper() && Base::start_array(size); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(Json::string_t& key) {
    if (!keys_.back().insert(key).second) {
      problem = fmt::format("key \"{}\" appears twice in one object", key);
      return false;
    }
    return Base::key(key);
  }
  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception& error) {
    std::string text = error.what();
    if (const auto colon = text.find("] "); colon != std::string::npos) text = text.substr(colon + 2);
    problem = fmt::format("byte {}: {}", position, text);
    return false;
  }

 private:
  bool deeper() {
    if (++depth_ <= max_depth) return true;
    problem = fmt::format("nested deeper than {} levels", max_depth);
    return false;
  }
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view where) {
  Json root;
  StrictBuilder builder(root);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return fail(ErrorCode::invalid, "{}: not valid JSON: {}", where,
                builder.problem.empty() ? "malformed" : builder.problem);
  }
  return root;
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace vernier
