// config.json: from text to a validated graph.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "arch/architecture.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto json = vernier::parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
  if (!json.ok() || !json->is_object()) return 0;
  const auto graph = vernier::build_model_graph(*json, "config.json");
  if (graph.ok() && !graph->validate().ok()) __builtin_trap();
  return 0;
}
