#include "base/json.h"

#include <unordered_set>

#include "base/fail.h"

namespace vernier {
namespace {

constexpr std::size_t max_depth = 128;

// Builds the document while watching depth and duplicate keys, which nlohmann's own builder lets pass. Members are
// appended without the linear search of ordered_json::operator[]: the index of a large model has 100,000 of them.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(Json& root) : root_(root) {}
  std::string problem;

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(std::int64_t value) override { return put(Json(value)); }
  bool number_unsigned(std::uint64_t value) override { return put(Json(value)); }
  bool number_float(double value, const std::string&) override { return put(Json(value)); }
  bool string(std::string& value) override { return put(Json(std::move(value))); }
  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    Level& level = open_.back();
    if (!level.keys.insert(key).second) {
      problem = fmt::format("key \"{}\" appears twice in one object", key);
      return false;
    }
    append_member(*level.value, std::move(key), Json());
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    std::string text = error.what();
    if (const auto colon = text.find("] "); colon != std::string::npos) text = text.substr(colon + 2);
    problem = fmt::format("byte {}: {}", position, text);
    return false;
  }

 private:
  // Parents are not touched while a child is open, so pointers to containers stay valid.
  struct Level {
    Json* value;
    std::unordered_set<std::string> keys;
  };

  bool open(Json container) {
    if (open_.size() == max_depth) {
      problem = fmt::format("nested deeper than {} levels", max_depth);
      return false;
    }
    open_.push_back({place(std::move(container)), {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& member = parent.get_ref<Json::object_t&>().back().second;
    member = std::move(value);
    return &member;
  }

  Json& root_;
  std::vector<Level> open_;
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

Json& append_member(Json& object, std::string key, Json value) {
  using Members = Json::object_t::Container;
  Members& members = object.get_ref<Json::object_t&>();
  members.emplace_back(std::move(key), std::move(value));
  return members.back().second;
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace vernier
