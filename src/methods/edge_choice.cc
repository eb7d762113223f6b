#include "methods/edge_choice.h"

#include <algorithm>

#include "base/fail.h"

namespace vernier {
namespace {

using Kind = ScaleEdge::Kind;
constexpr std::pair<std::string_view, Kind> kKinds[] = {
    {"norm", Kind::norm}, {"value", Kind::value}, {"gated", Kind::gated}, {"relu", Kind::relu}};

void keep(std::vector<ScaleEdge>& edges, const std::vector<Kind>& kinds) {
  std::erase_if(edges, [&](const ScaleEdge& e) { return std::count(kinds.begin(), kinds.end(), e.kind) == 0; });
}

}  // namespace

Result<std::vector<Kind>> edge_kinds(const std::string& text) {
  std::vector<Kind> kinds;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    bool known = false;
    for (const auto& [name, kind] : kKinds)
      if (word == name || word == "all") {
        kinds.push_back(kind);
        known = true;
      }
    if (!known)
      return fail(ErrorCode::invalid,
                  "edges: wanted all, or some of norm, value, gated, relu joined by +; found \"{}\"", text);
    begin = end + 1;
  }
  return kinds;
}

std::vector<ScaleEdge> edges_of_kinds(const BlockContext& block, const std::vector<Kind>& kinds) {
  std::vector<ScaleEdge> edges = foldable_edges(block);
  keep(edges, kinds);
  return edges;
}

std::vector<ScaleEdge> edges_of_kinds(const Graph& graph, const std::vector<Kind>& kinds) {
  std::vector<ScaleEdge> edges = scale_edges(graph);
  keep(edges, kinds);
  return edges;
}

}  // namespace vernier
