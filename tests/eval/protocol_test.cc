#include "eval/protocol.h"

#include "support/support.h"

namespace vernier {
namespace {

// One id per byte of text; BOS 300.
class ToyTokenizer final : public Tokenizer {
 public:
  explicit ToyTokenizer(bool with_bos) {
    if (with_bos) bos = 300;
    add_bos = with_bos;
  }
  std::int64_t vocab_size() const override { return 301; }
  std::vector<TokenId> encode(std::string_view text, bool) const override { return {text.begin(), text.end()}; }
  std::string decode(const std::vector<TokenId>& ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::string piece(TokenId id) const override { return std::to_string(id); }
  std::optional<TokenId> id_of(std::string_view) const override { return std::nullopt; }
  bool is_special(TokenId id) const override { return id == 300; }
};

using Ids = std::vector<TokenId>;

TEST(Protocol, WindowPutsBosBeforeEachPiece) {
  const auto pieces = cut_pieces({1, 2, 3, 4, 5, 6, 7}, ToyTokenizer(true), Protocol::window, 4);
  VN_ASSERT_OK(pieces);
  EXPECT_EQ(pieces.value().ids, (Ids{300, 1, 2, 3, 300, 4, 5, 6}));
  EXPECT_EQ(pieces.value().first_target, 1);
  EXPECT_EQ(pieces.value().scored(), 6);
}

TEST(Protocol, WindowWithoutBosLeavesTheFirstTokenUnscored) {
  const auto pieces = cut_pieces({1, 2, 3, 4, 5}, ToyTokenizer(false), Protocol::window, 4);
  VN_ASSERT_OK(pieces);
  EXPECT_EQ(pieces.value().ids, (Ids{1, 2, 3, 4}));
  EXPECT_EQ(pieces.value().scored(), 3);
}

TEST(Protocol, GptqIsOneStream) {
  const auto pieces = cut_pieces({1, 2, 3, 4, 5, 6, 7, 8}, ToyTokenizer(true), Protocol::gptq, 4);
  VN_ASSERT_OK(pieces);
  EXPECT_EQ(pieces.value().ids, (Ids{300, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(pieces.value().scored(), 6);
}

TEST(Protocol, LlamacppReplacesFirstTokensAndScoresTheSecondHalf) {
  const auto pieces = cut_pieces({1, 2, 3, 4, 5, 6, 7, 8}, ToyTokenizer(true), Protocol::llamacpp, 4);
  VN_ASSERT_OK(pieces);
  EXPECT_EQ(pieces.value().ids, (Ids{300, 1, 2, 3, 300, 5, 6, 7}));
  EXPECT_EQ(pieces.value().first_target, 3);
  EXPECT_EQ(pieces.value().scored(), 2);
}

TEST(Protocol, TooShortTextsAreRefused) {
  for (const Protocol protocol : {Protocol::window, Protocol::gptq, Protocol::llamacpp}) {
    const auto empty = cut_pieces({}, ToyTokenizer(true), protocol, 4);
    ASSERT_FALSE(empty.ok());
    EXPECT_EQ(empty.error().code, ErrorCode::invalid);
    EXPECT_FALSE(cut_pieces({1, 2}, ToyTokenizer(true), protocol, 8).ok());
    EXPECT_FALSE(cut_pieces({1, 2}, ToyTokenizer(true), protocol, 1).ok());
  }
}

TEST(Protocol, NamesAreKnown) {
  EXPECT_EQ(parse_protocol("gptq").value(), Protocol::gptq);
  EXPECT_FALSE(parse_protocol("other").ok());
}

}  // namespace
}  // namespace vernier
