#include "formats/gguf/twins.h"

#include <utility>

#include "formats/gguf/block_type.h"
#include "formats/int/grid.h"

namespace vernier {
namespace {

constexpr std::pair<std::string_view, int> twins[] = {{"q4_0", 4}, {"q5_0", 5}, {"q8_0", 8}};

GridSpec integers(int bits) { return {"int", bits, true, 32, DType::f16}; }

}  // namespace

std::optional<GridSpec> twin_of(const GridSpec& grid) {
  for (const auto& [name, bits] : twins) {
    const GridSpec blocks = find_block_type(name)->spec();
    if (grid == blocks) return integers(bits);
    if (grid == integers(bits)) return blocks;
  }
  return std::nullopt;
}

GridPart as_twin(GridPart part) {
  part.grid = make_grid(*twin_of(part.grid->spec())).value();
  const bool to_blocks = part.grid->spec().format != "int";
  constexpr std::size_t of_integers = int_params, of_blocks = block_params;
  const std::size_t from = to_blocks ? of_integers : of_blocks, to = to_blocks ? of_blocks : of_integers;
  const float zero = static_cast<float>(1 << (part.grid->spec().bits - 1));
  const std::size_t groups = part.params.size() / from;
  std::vector<float> params(groups * to, 1);
  for (std::size_t g = 0; g < groups; ++g) {
    params[g * to] = part.params[g * from];  // the scale, first in both
    params[g * to + 1] = to_blocks ? 0 : zero;
  }
  part.params = std::move(params);
  return part;
}

}  // namespace vernier
