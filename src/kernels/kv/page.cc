#include "kernels/kv/page.h"

namespace vernier::kernels {
namespace {

constexpr KvType kAll[] = {KvType::f32, KvType::f16, KvType::int8, KvType::int4};

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

std::string_view name(KvType type) {
  switch (type) {
    case KvType::f32:
      return "f32";
    case KvType::f16:
      return "f16";
    case KvType::int8:
      return "int8";
    case KvType::int4:
      return "int4";
  }
  return "unknown";
}

std::optional<KvType> kv_type_from_name(std::string_view text) {
  for (KvType type : kAll) {
    if (name(type) == text) return type;
  }
  return std::nullopt;
}

KvLayout::KvLayout(KvType type, std::int64_t kv_heads, std::int64_t head_dim)
    : type_(type), kv_heads_(kv_heads), head_dim_(head_dim) {
  std::int64_t params = 0;  // per (head, token)
  switch (type) {
    case KvType::f32:
      panel_bytes_ = kPanelTokens * head_dim * 4;
      value_row_bytes_ = round_up(head_dim, 16) * 4;
      break;
    case KvType::f16:
      panel_bytes_ = kPanelTokens * head_dim * 2;
      value_row_bytes_ = round_up(head_dim, 16) * 2;
      break;
    case KvType::int8:
      panel_bytes_ = kPanelTokens * round_up(head_dim, 4);
      value_row_bytes_ = round_up(head_dim, 16);
      params = 2;
      break;
    case KvType::int4:
      panel_bytes_ = kPanelTokens * round_up(head_dim, 8) / 2;
      value_row_bytes_ = round_up(head_dim, 32) / 2;
      params = 4;
      break;
  }
  block_bytes_ = 2 * panel_bytes_ + kPageTokens * (value_row_bytes_ + params * 2);
}

KvBlock KvLayout::block(std::byte* page, std::int64_t kv_head) const {
  KvBlock block;
  block.keys = page + kv_head * block_bytes_;
  block.values = block.keys + 2 * panel_bytes_;
  auto* next = reinterpret_cast<std::uint16_t*>(block.values + kPageTokens * value_row_bytes_);
  const auto take = [&next] {
    auto* taken = next;
    next += kPageTokens;
    return taken;
  };
  const bool integers = type_ == KvType::int8 || type_ == KvType::int4;
  if (integers) block.key_scale = take();
  if (type_ == KvType::int4) block.key_minimum = take();
  if (integers) block.value_scale = take();
  if (type_ == KvType::int4) block.value_minimum = take();
  return block;
}

}  // namespace vernier::kernels
