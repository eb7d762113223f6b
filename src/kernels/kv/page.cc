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

std::int64_t KvLayout::panel_bytes() const {
  switch (type) {
    case KvType::f32:
      return kPanelTokens * head_dim * 4;
    case KvType::f16:
      return kPanelTokens * head_dim * 2;
    case KvType::int8:
      return kPanelTokens * round_up(head_dim, 4);
    case KvType::int4:
      return kPanelTokens * round_up(head_dim, 8) / 2;
  }
  return 0;
}

std::int64_t KvLayout::value_row_bytes() const {
  switch (type) {
    case KvType::f32:
      return round_up(head_dim, 16) * 4;
    case KvType::f16:
      return round_up(head_dim, 16) * 2;
    case KvType::int8:
      return round_up(head_dim, 16);
    case KvType::int4:
      return round_up(head_dim, 32) / 2;
  }
  return 0;
}

std::int64_t KvLayout::params() const { return type == KvType::int8 ? 2 : type == KvType::int4 ? 4 : 0; }

std::int64_t KvLayout::block_bytes() const {
  return 2 * panel_bytes() + kPageTokens * (value_row_bytes() + params() * 2);
}

KvBlock KvLayout::block(std::byte* page, std::int64_t kv_head) const {
  KvBlock block;
  block.keys = page + kv_head * block_bytes();
  block.values = block.keys + 2 * panel_bytes();
  auto* next = reinterpret_cast<std::uint16_t*>(block.values + kPageTokens * value_row_bytes());
  const auto take = [&next] {
    auto* taken = next;
    next += kPageTokens;
    return taken;
  };
  const bool integers = type == KvType::int8 || type == KvType::int4;
  if (integers) block.key_scale = take();
  if (type == KvType::int4) block.key_minimum = take();
  if (integers) block.value_scale = take();
  if (type == KvType::int4) block.value_minimum = take();
  return block;
}

}  // namespace vernier::kernels
