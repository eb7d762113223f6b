#include "arch/residual.h"

#include "arch/architecture.h"
#include "io/files.h"
#include "support/support.h"

namespace vernier {
namespace {

Result<ModelGraph> golden_graph(const std::string& name) {
  const std::string path = testing::source_dir() + "/tests/golden/architectures/" + name + "/config.json";
  return build_model_graph(Json::parse(testing::read_file(path)), path);
}

TEST(ResidualStream, NamesReadersAndWritersOfALlama) {
  const auto model = golden_graph("llama-tied");
  VN_ASSERT_OK(model);
  const auto stream = ResidualStream::find(*model);
  VN_ASSERT_OK(stream);
  const auto layers = static_cast<std::size_t>(model->layers);
  EXPECT_EQ(stream->norms.size(), 2 * layers + 1);
  EXPECT_EQ(stream->writers.size(), 2 * layers);  // o_proj, down_proj
  EXPECT_EQ(stream->tables.size(), 1u);
  EXPECT_TRUE(stream->readers.empty());
  EXPECT_TRUE(stream->tied_head);
  EXPECT_FALSE(stream->layer_norm);
  std::size_t readers = 0;
  for (const auto& norm : stream->norms) readers += norm.readers.size();
  EXPECT_EQ(readers, 5 * layers + 1);  // q, k, v, gate, up; the head
}

TEST(ResidualStream, SeesExpertsAndRouters) {
  const auto model = golden_graph("mixtral");
  VN_ASSERT_OK(model);
  const auto stream = ResidualStream::find(*model);
  VN_ASSERT_OK(stream);
  std::size_t experts = 0;
  for (const Op& op : model->blocks[0].ops) experts += op.kind == OpKind::gather;
  ASSERT_GT(experts, 1u);
  const auto layers = static_cast<std::size_t>(model->layers);
  EXPECT_EQ(stream->writers.size(), layers * (1 + experts));
  std::size_t readers = 0;
  for (const auto& norm : stream->norms) readers += norm.readers.size();
  EXPECT_EQ(readers, layers * (3 + 1 + 2 * experts) + 1);
}

TEST(ResidualStream, KnowsLayerNormsAndRefusesPostNorm) {
  const auto opt = golden_graph("opt"), post = golden_graph("opt-post-norm");
  VN_ASSERT_OK(opt);
  VN_ASSERT_OK(post);
  const auto stream = ResidualStream::find(*opt);
  VN_ASSERT_OK(stream);
  EXPECT_TRUE(stream->layer_norm);
  EXPECT_EQ(stream->tables.size(), 2u);  // tokens, positions
  const auto refused = ResidualStream::find(*post);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_NE(refused.error().message.find("layer_norm"), std::string::npos) << refused.error().text();
}

}  // namespace
}  // namespace vernier
