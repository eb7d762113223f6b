#include "pipeline/record.h"

#include <algorithm>
#include <map>

#include "base/fail.h"
#include "io/files.h"

namespace vernier {

Json to_json(const TensorRecord& record) {
  Json json = {{"name", record.name},
               {"format", record.grid.format},
               {"bits", record.grid.bits},
               {"symmetric", record.grid.symmetric},
               {"group", record.grid.group},
               {"group_rows", record.grid.group_rows},
               {"scale_dtype", name(record.grid.scale_dtype)},
               {"bits_per_weight", record.bits_per_weight},
               {"error", record.report.error},
               {"error_rtn", record.report.error_rtn},
               {"damp", record.report.damp},
               {"dead_columns", record.report.dead_columns},
               {"note", record.report.note},
               {"seconds", record.seconds},
               {"tokens", record.tokens}};
  if (record.activation) {
    const ActivationSpec& a = *record.activation;
    json["activation"] = {{"bits", a.bits},           {"symmetric", a.symmetric}, {"dynamic", a.dynamic},
                          {"per_token", a.per_token}, {"scale", a.scale},         {"zero", a.zero},
                          {"floating", a.floating},   {"group", a.group}};
  }
  return json;
}

Result<TensorRecord> record_from_json(const Json& json, const std::string& where) {
  try {
    TensorRecord record;
    record.name = json.at("name").get<std::string>();
    record.grid.format = json.at("format").get<std::string>();
    record.grid.bits = json.at("bits").get<int>();
    record.grid.symmetric = json.at("symmetric").get<bool>();
    record.grid.group = json.at("group").get<std::int64_t>();
    record.grid.group_rows = json.at("group_rows").get<std::int64_t>();
    record.grid.scale_dtype = dtype_from_name(json.at("scale_dtype").get<std::string>()).value_or(DType::f16);
    record.bits_per_weight = json.at("bits_per_weight").get<double>();
    record.report.error = json.at("error").get<double>();
    record.report.error_rtn = json.at("error_rtn").get<double>();
    record.report.damp = json.at("damp").get<double>();
    record.report.dead_columns = json.at("dead_columns").get<std::int64_t>();
    record.report.note = json.at("note").get<std::string>();
    record.seconds = json.at("seconds").get<double>();
    record.tokens = json.at("tokens").get<std::int64_t>();
    if (json.contains("activation")) {
      const Json& a = json.at("activation");
      ActivationSpec spec;
      spec.bits = a.at("bits").get<int>();
      spec.symmetric = a.at("symmetric").get<bool>();
      spec.dynamic = a.at("dynamic").get<bool>();
      spec.per_token = a.at("per_token").get<bool>();
      spec.scale = a.at("scale").get<float>();
      spec.zero = a.at("zero").get<float>();
      spec.floating = a.at("floating").get<bool>();
      spec.group = a.at("group").get<int>();
      record.activation = spec;
    }
    return record;
  } catch (const Json::exception& problem) {
    return with_hint(fail(ErrorCode::invalid, "{}: not a record of this program: {}", where, problem.what()),
                     "discard the run with --fresh");
  }
}

Result<std::vector<TensorRecord>> read_records(const std::string& path) {
  std::vector<TensorRecord> records;
  if (!file_exists(path)) return records;
  VN_ASSIGN(const std::string text, read_text_file(path));
  std::map<std::string, std::size_t> index;
  std::size_t intact = 0;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = parse_json(std::string_view(text).substr(begin, end - begin), path);
    if (!line.ok()) break;
    intact = end + 1;
    VN_ASSIGN(TensorRecord record, record_from_json(*line, path));
    const auto [slot, added] = index.emplace(record.name, records.size());
    if (added) {
      records.push_back(std::move(record));
    } else {
      records[slot->second] = std::move(record);
    }
  }
  // Or the next record would be appended to half a line.
  if (intact < text.size()) VN_TRY(write_file_atomic(path, std::string_view(text).substr(0, intact)));
  return records;
}

}  // namespace vernier
