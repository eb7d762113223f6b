#include "pipeline/journal.h"

#include "base/fail.h"
#include "io/files.h"

namespace vernier {
namespace {

Status check_identity(const Json& found, const Journal::Identity& wanted, const std::string& path) {
  for (const auto& [part, value] : wanted) {
    const auto entry = found.find(part);
    if (entry == found.end() || !entry->is_string() || entry->get_ref<const std::string&>() != value) {
      return with_hint(fail(ErrorCode::mismatch, "{}: the {} is not what it was when this run began", path, part),
                       "restore it and run the same command again, or discard the run with --fresh");
    }
  }
  return {};
}

}  // namespace

Result<Journal> Journal::open(const std::string& path, const Identity& identity) {
  Journal journal;
  journal.path_ = path;
  std::string text;
  if (file_exists(path)) {
    VN_ASSIGN(text, read_text_file(path));
  }
  std::string intact;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = parse_json(std::string_view(text).substr(begin, end - begin), path);
    if (!line.ok() || !line->is_object()) break;
    if (begin == 0) {
      VN_TRY(check_identity(*line, identity, path));
      journal.resumed_ = true;
    } else if (line->contains("done") && (*line)["done"].is_string()) {
      journal.done_.insert((*line)["done"].get<std::string>());
    }
    intact = text.substr(0, end + 1);
  }
  if (!journal.resumed_) {
    Json first = Json::object();
    for (const auto& [part, value] : identity) first[part] = value;
    intact = dump_json(first, -1) + "\n";
  }
  if (intact != text) VN_TRY(write_file_atomic(path, intact));
  return journal;
}

Status Journal::finish(const std::string& step) {
  VN_TRY(append_durable(path_, dump_json(Json{{"done", step}}, -1) + "\n"));
  done_.insert(step);
  return {};
}

}  // namespace vernier
