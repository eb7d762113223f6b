#include "cli/verify_output.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/fail.h"
#include "cli/output.h"
#include "cli/table.h"

namespace vernier {

Json verify_json(const VerifyReport& report) {
  Json json;
  json["model"] = report.model;
  json["sound"] = report.sound();
  json["verdict"] = report.verdict();
  json["container"] = report.container;
  json["architecture"] = report.architecture;
  json["tensors"] = report.tensors;
  json["quantized_tensors"] = report.quantized;
  json["stored_bytes"] = report.stored_bytes;
  json["problems"] = Json::array();
  for (const Problem& problem : report.problems)
    json["problems"].push_back(
        {{"tensor", problem.tensor}, {"what", problem.what}, {"wanted", problem.wanted}, {"found", problem.found}});
  json["notes"] = report.notes;
  if (report.comparison) {
    const SourceComparison& comparison = *report.comparison;
    Json& source = json["source"];
    source["quantized"] = comparison.quantized;
    source["copied"] = comparison.copied;
    source["converted"] = comparison.converted;
    source["dropped"] = comparison.dropped;
    source["transformed"] = comparison.transformed;
    source["errors"] = Json::array();
    for (const SourceComparison::Error& error : comparison.errors)
      source["errors"].push_back({{"tensor", error.tensor}, {"relative_error", error.relative}});
  }
  json["seconds"] = report.seconds;
  return json;
}

void print_problems(const VerifyReport& report) {
  if (!report.problems.empty() && report.problems[0].tensor.empty()) return;  // the verdict says it all
  Table table({{"tensor", Table::Align::left, true}, {"what"}, {"wanted"}, {"found"}});
  for (const Problem& problem : report.problems)
    table.add({problem.tensor, problem.what, problem.wanted, problem.found});
  if (!report.sound()) print_table(table);
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
}

void add_no_verify_option(CLI::App& app, bool& no_verify) {
  app.add_flag("--no-verify", no_verify, "do not look through the output when it is written (vernier verify)");
}

bool verify_output(const std::string& out, const std::string& model, bool json, std::int64_t memory_bytes) {
  const auto verified = verify({.model = out, .source = {}, .origin = model, .memory_bytes = memory_bytes});
  if (!verified.ok()) {
    report(verified.error());
    return false;
  }
  if (verified->sound()) {
    if (json) return true;
    fmt::print("{}\n", verified->verdict());
    print_problems(*verified);  // its notes
    return true;
  }
  if (json)
    print_json(verify_json(*verified));
  else
    print_problems(*verified);
  report(with_hint(fail(ErrorCode::failed, "{}; it is kept for inspection", verified->verdict()),
                   "vernier verify " + model + " tells whether the model it was made from has the same fault"));
  return false;
}

}  // namespace vernier
