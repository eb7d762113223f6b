// Importance matrices: for every weight of a model, how large its inputs were on calibration text. Two kinds of file
// hold them: GGUF (general.type "imatrix") and the older .dat, means times a number of calls (handbook, formats,
// "Importance-matrix files"). The reader trusts nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vernier/status.h"

namespace vernier {

struct ImportanceEntry {
  std::string name;           // of the weight: "blk.0.attn_q.weight"
  std::vector<float> sums;    // [matrices, cols] of squares of the input, over `counts` tokens
  std::vector<float> counts;  // [matrices], or one for all
  // Mean squares of one of `matrices`; 1 where no token was counted.
  std::vector<float> means(std::int64_t matrix, std::int64_t matrices) const;
};

struct ImportanceFile {
  std::vector<ImportanceEntry> entries;
  std::vector<std::string> datasets;
  std::int64_t chunks = 0, chunk_tokens = 0;
};

// Refuses lengths that lie, shapes that contradict each other, sums that are negative or not finite, entries that are
// there twice, tensors of another kind. `where` names the file in errors.
Result<ImportanceFile> parse_imatrix(std::span<const std::byte> bytes, const std::string& where);
Result<ImportanceFile> read_imatrix(const std::string& path);

enum class ImatrixKind { gguf, dat };
std::string imatrix_bytes(const ImportanceFile& file, ImatrixKind kind);

}  // namespace vernier
