// What a model family registers (src/arch/UNITS): from config.json to a graph. Data only: no code of a family runs
// after the graph is built.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/graph.h"
#include "base/json.h"

namespace vernier {

// Typed access to config.json; errors name the key, what was wanted and what was found.
class ConfigReader {
 public:
  ConfigReader(const Json& config, std::string where) : config_(config), where_(std::move(where)) {}

  Result<std::int64_t> integer(std::string_view key) const;                         // required, >= 0
  Result<std::int64_t> integer(std::string_view key, std::int64_t fallback) const;  // absent or null: fallback
  Result<double> number(std::string_view key, double fallback) const;
  Result<bool> boolean(std::string_view key, bool fallback) const;
  Result<std::string> string(std::string_view key, std::string fallback) const;
  // A dimension: 1 .. limit, so that nothing built from a config grows without bound. Fallback 0: required.
  Result<std::int64_t> size(std::string_view key, std::int64_t limit, std::int64_t fallback = 0) const;
  const Json* find(std::string_view key) const;  // null when absent or JSON null
  bool states(std::string_view key) const;       // present, be it as JSON null
  // The error of a key whose value is well-formed but not handled here.
  Error refuse(std::string_view key, std::string_view wanted) const;
  const std::string& where() const { return where_; }

 private:
  const Json& config_;
  std::string where_;
};

struct ArchitectureDescriptor {
  std::string_view name;  // "llama"
  std::string_view summary;
  std::span<const std::string_view> model_types;  // config.json "model_type" values it takes
  Result<ModelGraph> (*build)(const ConfigReader& config);
};

std::span<const ArchitectureDescriptor* const> architectures();
// By config.json "model_type"; unsupported names the type and lists what is known.
Result<const ArchitectureDescriptor*> find_architecture(const Json& config, const std::string& where);

// The graph of a folder's config; validated.
Result<ModelGraph> build_model_graph(const Json& config, const std::string& where);

}  // namespace vernier
