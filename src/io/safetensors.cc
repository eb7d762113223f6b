#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/fail.h"
#include "base/json.h"
#include "io/files.h"

namespace vernier {
namespace {

constexpr std::int64_t max_header_bytes = 100'000'000;  // the reference implementation's limit
constexpr std::int64_t max_elements = std::int64_t{1} << 56;

Error bad(const std::string& where, std::string what) {
  return with_hint(fail(ErrorCode::invalid, "{}: not a valid safetensors file: {}", where, what),
                   "the file may be truncated; fetch it again");
}

bool whole_number(const Json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() < (std::uint64_t{1} << 62);
}

Result<TensorEntry> parse_entry(const std::string& name, const Json& value, const std::string& where) {
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets") ||
      !value["dtype"].is_string() || !value["shape"].is_array() || !value["data_offsets"].is_array()) {
    return bad(where, fmt::format("tensor {}: wanted dtype, shape and data_offsets", name));
  }
  TensorEntry entry;
  entry.name = name;
  const auto dtype = dtype_from_name(value["dtype"].get_ref<const std::string&>());
  if (!dtype) {
    return fail(ErrorCode::unsupported, "{}: tensor {}: unknown element type \"{}\"", where, name,
                value["dtype"].get_ref<const std::string&>());
  }
  entry.dtype = *dtype;
  std::vector<std::int64_t> dims;
  std::int64_t elements = 1;
  for (const Json& d : value["shape"]) {
    if (!whole_number(d)) return bad(where, fmt::format("tensor {}: a dimension is not a whole number", name));
    dims.push_back(d.get<std::int64_t>());
    if (__builtin_mul_overflow(elements, dims.back(), &elements) || elements > max_elements) {
      return bad(where, fmt::format("tensor {}: its shape has too many elements", name));
    }
  }
  if (dims.size() > 16) return bad(where, fmt::format("tensor {}: {} dimensions", name, dims.size()));
  entry.shape = Shape(std::move(dims));
  const Json& offsets = value["data_offsets"];
  if (offsets.size() != 2 || !whole_number(offsets[0]) || !whole_number(offsets[1])) {
    return bad(where, fmt::format("tensor {}: data_offsets must be two whole numbers", name));
  }
  entry.begin = offsets[0].get<std::int64_t>();
  const auto end = offsets[1].get<std::int64_t>();
  if (end < entry.begin || end - entry.begin != entry.bytes()) {
    return bad(where, fmt::format("tensor {}: shape {} of {} takes {} bytes, data_offsets hold {}", name,
                                  entry.shape.text(), vernier::name(entry.dtype), entry.bytes(), end - entry.begin));
  }
  return entry;
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> file, std::int64_t file_bytes,
                                            const std::string& where) {
  if (file.size() < 8) return bad(where, fmt::format("{} bytes, shorter than its length word", file.size()));
  std::uint64_t header_bytes;
  std::memcpy(&header_bytes, file.data(), 8);
  if (header_bytes > static_cast<std::uint64_t>(max_header_bytes) || header_bytes + 8 > file.size()) {
    return bad(where, fmt::format("header of {} bytes in a file of {}", header_bytes, file_bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, header_bytes);
  if (text.empty() || text.front() != '{') return bad(where, "the header does not start with '{'");
  VN_ASSIGN(const Json json, parse_json(text, where));

  SafetensorsHeader header;
  header.data_offset = 8 + static_cast<std::int64_t>(header_bytes);
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return bad(where, "__metadata__ is not an object");
      for (const auto& [key, entry] : value.items()) {
        if (!entry.is_string()) return bad(where, fmt::format("__metadata__ {} is not a string", key));
        header.metadata[key] = entry.get<std::string>();
      }
      continue;
    }
    VN_ASSIGN(auto entry, parse_entry(name, value, where));
    header.entries.push_back(std::move(entry));
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.bytes()) < std::pair(b.begin, b.bytes());
  });
  std::int64_t end = 0;
  for (const TensorEntry& entry : header.entries) {
    if (entry.begin != end) {
      return bad(where, fmt::format("tensor {} starts at byte {}, the one before ends at {} ({})", entry.name,
                                    entry.begin, end, entry.begin < end ? "overlap" : "hole"));
    }
    end = entry.begin + entry.bytes();
  }
  if (header.data_offset + end != file_bytes) {
    return bad(where, fmt::format("tensors need {} bytes, the file has {}", header.data_offset + end, file_bytes));
  }
  return header;
}

SafetensorsPlan plan_safetensors(std::vector<TensorEntry> entries, const std::map<std::string, std::string>& metadata) {
  const auto rank = [](const TensorEntry& entry) {
    return std::tuple(entry.bytes() % tensor_alignment != 0, -size_bytes(entry.dtype), std::string_view(entry.name));
  };
  std::sort(entries.begin(), entries.end(),
            [&](const TensorEntry& a, const TensorEntry& b) { return rank(a) < rank(b); });
  SafetensorsPlan plan;
  Json json = Json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  for (TensorEntry& entry : entries) {
    entry.begin = plan.data_bytes;
    plan.data_bytes += entry.bytes();
    append_member(json, entry.name,
                  {{"dtype", name(entry.dtype)},
                   {"shape", entry.shape.dims()},
                   {"data_offsets", {entry.begin, plan.data_bytes}}});
  }
  std::string text = dump_json(json, -1);
  constexpr auto alignment = static_cast<std::size_t>(tensor_alignment);
  text.append((alignment - (8 + text.size()) % alignment) % alignment, ' ');
  const std::uint64_t length = text.size();
  plan.header.assign(reinterpret_cast<const char*>(&length), 8);
  plan.header += text;
  plan.entries = std::move(entries);
  return plan;
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::open(const std::string& path, SafetensorsPlan plan) {
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter);
  writer->path_ = path;
  writer->part_path_ = path + ".part";
  for (std::size_t i = 0; i < plan.entries.size(); ++i) writer->index_[plan.entries[i].name] = i;
  writer->plan_ = std::move(plan);
  writer->fd_ = ::open(writer->part_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (writer->fd_ < 0) {
    return with_hint(fail(ErrorCode::io, "{}: cannot create: {}", writer->part_path_, ::strerror(errno)),
                     "choose a writable output folder with -o");
  }
  // Reserving now turns a disk that is too small into an error before hours of work.
  const std::int64_t bytes = writer->plan_.file_bytes();
  const int reason = ::posix_fallocate(writer->fd_, 0, bytes);
  if (reason == ENOSPC) {
    return with_hint(fail(ErrorCode::io, "{}: the disk has no room for {} bytes", writer->part_path_, bytes),
                     "free space and run the same command again, or choose another output folder");
  }
  if (::ftruncate(writer->fd_, bytes) != 0) {
    return fail(ErrorCode::io, "{}: cannot size to {} bytes: {}", writer->part_path_, bytes, ::strerror(errno));
  }
  const std::string& header = writer->plan_.header;
  if (::pwrite(writer->fd_, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) {
    return fail(ErrorCode::io, "{}: cannot write the header: {}", writer->part_path_, ::strerror(errno));
  }
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status SafetensorsWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  const auto found = index_.find(name);
  if (found != index_.end() && plan_.entries[found->second].bytes() != static_cast<std::int64_t>(bytes.size())) {
    return fail(ErrorCode::failed, "{}: tensor {}: planned {} bytes, got {}", path_, name,
                plan_.entries[found->second].bytes(), bytes.size());
  }
  return write_part(name, 0, bytes);
}

Status SafetensorsWriter::write_part(const std::string& name, std::int64_t offset_bytes,
                                     std::span<const std::byte> bytes) {
  const auto found = index_.find(name);
  if (found == index_.end()) return fail(ErrorCode::failed, "{}: tensor {} was not planned", path_, name);
  const TensorEntry& entry = plan_.entries[found->second];
  if (offset_bytes < 0 || offset_bytes + static_cast<std::int64_t>(bytes.size()) > entry.bytes()) {
    return fail(ErrorCode::failed, "{}: tensor {}: bytes {}..{} of {}", path_, name, offset_bytes,
                offset_bytes + static_cast<std::int64_t>(bytes.size()), entry.bytes());
  }
  std::int64_t at = static_cast<std::int64_t>(plan_.header.size()) + entry.begin + offset_bytes;
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), std::min<std::size_t>(bytes.size(), 1 << 30), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return with_hint(fail(ErrorCode::io, "{}: tensor {}: cannot write: {}", part_path_, name, ::strerror(errno)),
                       "free space there and run the same command again");
    }
    at += n;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status SafetensorsWriter::sync() {
  if (::fdatasync(fd_) != 0) return fail(ErrorCode::io, "{}: cannot sync: {}", part_path_, ::strerror(errno));
  return {};
}

Status SafetensorsWriter::finish() {
  if (::fsync(fd_) != 0) return fail(ErrorCode::io, "{}: cannot sync: {}", part_path_, ::strerror(errno));
  if (::rename(part_path_.c_str(), path_.c_str()) != 0) {
    return fail(ErrorCode::io, "{}: cannot rename into place: {}", path_, ::strerror(errno));
  }
  const auto slash = path_.rfind('/');
  return sync_directory(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
}

}  // namespace vernier
