#include "eval/chunks.h"

#include "base/memory.h"
#include "support/support.h"

namespace vernier {
namespace {

// hidden -> two linears of twice the width -> their product -> hidden.
Graph gated_block(std::int64_t width) {
  GraphBuilder builder("block");
  const ValueId x = builder.input("x", width);
  const ValueId a = builder.linear("a", x, 2 * width, false);
  const ValueId b = builder.linear("b", x, 2 * width, false);
  const ValueId product = builder.binary(OpKind::multiply, "product", a, b);
  const ValueId down = builder.linear("down", product, width, false);
  return builder.finish(builder.binary(OpKind::add, "sum", x, down));
}

class ToySource final : public ModelSource {
 public:
  ToySource() {
    graph_.hidden = 64;
    graph_.vocab = 100;
    graph_.blocks.push_back(gated_block(64));
    for (const TensorRef& tensor : graph_.blocks[0].tensors)
      tensors_.push_back({tensor.name, tensor.shape, "f32", tensor.shape.elements() * 4});
  }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string&) const override { return Error{}; }
  Result<Tensor> vector(const std::string&) const override { return Error{}; }
  std::optional<ActivationSpec> activation(const std::string&) const override { return std::nullopt; }
  void release(const Graph&) const override {}

 private:
  std::vector<SourceTensor> tensors_;
};

TEST(Chunks, WorkingSetFollowsLiveness) {
  // x, a, b and their product live together: 1 + 2 + 2 + 2 widths.
  EXPECT_EQ(working_bytes_per_row(gated_block(10)), 7 * 10 * 4);
}

TEST(Chunks, UnboundedNeitherStreamsNorCutsPieces) {
  const ToySource source;
  const auto chunks = plan_chunks({&source}, 100, 0);
  VN_ASSERT_OK(chunks);
  EXPECT_FALSE(chunks.value().stream);
  EXPECT_EQ(chunks.value().rows % 100, 0);
  EXPECT_GE(chunks.value().rows, 100);
}

TEST(Chunks, MoreMemoryMeansMoreRowsAndStaysInside) {
  const ToySource source;
  std::int64_t rows = 0;
  const std::int64_t base = resident_bytes() + (std::int64_t{512} << 20);
  for (const std::int64_t extra_mib : {0, 1, 8}) {
    const std::int64_t budget = base + (extra_mib << 20);
    const auto chunks = plan_chunks({&source}, 100, budget);
    VN_ASSERT_OK(chunks);
    EXPECT_TRUE(chunks.value().stream);
    EXPECT_LE(chunks.value().bytes, budget);
    EXPECT_GE(chunks.value().rows, rows);
    rows = chunks.value().rows;
  }
}

TEST(Chunks, TooSmallABudgetNamesTheSmallest) {
  const ToySource source;
  const auto refused = plan_chunks({&source, &source}, 1000, 1 << 20);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::over_budget);
  const std::string& hint = refused.error().hint;
  const std::size_t at = hint.find("--memory ");
  ASSERT_NE(at, std::string::npos) << hint;
  const auto named = parse_bytes(hint.substr(at + 9));
  VN_ASSERT_OK(named);
  // The named budget works; resident memory may have moved by a little since.
  VN_EXPECT_OK(plan_chunks({&source, &source}, 1000, named.value() + (4 << 20)));
}

}  // namespace
}  // namespace vernier
