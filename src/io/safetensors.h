// safetensors: u64 header length | JSON header | tensor bytes (handbook, formats, part 2).
// The reader enforces no holes, no overlap, sizes that match shapes, known element types.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tensor/mapped_file.h"
#include "vernier/status.h"
#include "vernier/tensor.h"

namespace vernier {

// One tensor of a file or of a file still to be written. `begin` counts from the start of the data section.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::int64_t begin = 0;
  std::int64_t bytes() const { return shape.elements() * size_bytes(dtype); }
};

// Files this program writes start their data on such a boundary, and tensors whose size is a multiple of it (packed
// weights above all) come first, so that kernels read them in place, a cache line at a time.
constexpr std::int64_t tensor_alignment = 64;

struct SafetensorsHeader {
  std::vector<TensorEntry> entries;             // by rising offset
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::int64_t data_offset = 0;                 // where the data section starts in the file
};

// Checks `file` (at least the header bytes of a file of `file_bytes`); `where` names it in errors. Never reads past
// `file`, never allocates more than a small multiple of the header.
Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> file, std::int64_t file_bytes,
                                            const std::string& where);

// Offsets for `entries` (sorted here: multiples of tensor_alignment first, then by falling element size, then name) and
// the header bytes, padded so that every tensor is aligned. The file is header followed by data_bytes.
struct SafetensorsPlan {
  std::vector<TensorEntry> entries;
  std::string header;  // length word included
  std::int64_t data_bytes = 0;
  std::int64_t file_bytes() const { return static_cast<std::int64_t>(header.size()) + data_bytes; }
};
SafetensorsPlan plan_safetensors(std::vector<TensorEntry> entries, const std::map<std::string, std::string>& metadata);

// Writes one planned file, tensors in any order, into `path + ".part"`; finish() makes it durable and renames it.
// Reopening after a kill continues on the same bytes: writing a tensor twice is harmless.
class SafetensorsWriter {
 public:
  static Result<std::unique_ptr<SafetensorsWriter>> open(const std::string& path, SafetensorsPlan plan);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  Status write(const std::string& name, std::span<const std::byte> bytes);  // exactly the planned size
  // A piece of one tensor, `offset_bytes` from its start.
  Status write_part(const std::string& name, std::int64_t offset_bytes, std::span<const std::byte> bytes);
  Status sync();  // what was written so far is durable
  Status finish();

 private:
  SafetensorsWriter() = default;
  std::string path_, part_path_;
  SafetensorsPlan plan_;
  std::map<std::string, std::size_t> index_;
  int fd_ = -1;
};

}  // namespace vernier
