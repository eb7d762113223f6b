// What `vernier list grids` calls held as it is comes back bit for bit: every grid, from every container that holds it
// into every other and back.
#include <filesystem>
#include <map>
#include <vector>

#include "base/json.h"
#include "formats/gguf/twins.h"
#include "io/files.h"
#include "pipeline/container_grids.h"
#include "pipeline/repack.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::read_file;
using testing::run_vernier;

using StoredTensors = std::map<std::string, std::vector<std::byte>>;

StoredTensors stored_in(const std::string& folder) {
  StoredTensors tensors;
  const auto checkpoint = Checkpoint::open(folder);
  VN_EXPECT_OK(checkpoint);
  for (const Checkpoint::Entry& entry : (*checkpoint)->entries()) {
    const auto bytes = (*checkpoint)->view(entry.tensor.name)->bytes;
    tensors.emplace(entry.tensor.name, std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  return tensors;
}

// What the weights decode to.
std::map<std::string, std::vector<float>> values_of(const std::string& folder) {
  std::map<std::string, std::vector<float>> values;
  const auto source = open_model(folder);
  VN_EXPECT_OK(source);
  for (const SourceTensor& tensor : (*source)->tensors()) {
    if (tensor.shape.rank() != 2) continue;
    const auto matrix = (*source)->matrix(tensor.name);
    VN_EXPECT_OK(matrix);
    std::vector<float>& out = values[tensor.name];
    out.resize(static_cast<std::size_t>(tensor.shape.elements()));
    (*matrix)->decode_rows(0, (*matrix)->rows(), out.data());
  }
  return values;
}

class RoundTrips : public ::testing::Test {
 protected:
  // The model rounded to `grid` in a container; false where that does not hold the model's shapes.
  bool round(const std::string& model, const GridSpec& grid, const std::string& container, const std::string& out) {
    auto recipe = load_recipe("w4a16-rtn", {});
    VN_EXPECT_OK(recipe);
    recipe->weights = {.format = grid.format,
                       .bits = grid.bits,
                       .symmetric = grid.symmetric,
                       .group = grid.group,
                       .group_rows = grid.group_rows,
                       .scale_dtype = grid.scale_dtype == DType::bf16  ? "bf16"
                                      : grid.scale_dtype == DType::f16 ? "f16"
                                                                       : "f32"};
    RepackOptions options{.model = model, .out = out, .container = container};
    options.rounding = {.allowed = true, .all = false, .recipe = std::move(recipe).value()};
    const auto result = repack(options);
    return result.ok() && result->refused.empty() && result->quantized > 0;
  }

  void convert(const std::string& in, const std::string& container, const std::string& out) {
    const auto result = repack({.model = in, .out = out, .container = container});
    VN_ASSERT_OK(result);
    ASSERT_TRUE(result->refused.empty()) << result->refused[0].tensor << ": " << result->refused[0].reason;
  }

  // Every pair of containers that hold the grid; how many there were.
  int there_and_back(const std::string& model, const GridKind& kind, std::size_t at) {
    std::vector<std::string> holders;
    for (const ContainerDescriptor* container : containers()) {
      const auto held = held_as(*container, kind, at);
      const std::string folder = dir_.path(std::string(container->name));
      if (held && round(model, *held, std::string(container->name), folder)) holders.emplace_back(container->name);
    }
    for (const std::string& from : holders)
      for (const std::string& to : holders) {
        if (from == to) continue;
        SCOPED_TRACE(from + " to " + to);
        convert(dir_.path(from), to, dir_.path("there"));
        if (!HasFatalFailure()) convert(dir_.path("there"), from, dir_.path("back"));
        if (HasFatalFailure()) return 0;
        EXPECT_TRUE(values_of(dir_.path(from)) == values_of(dir_.path("back")));
        // compressed-tensors packs one scale a tensor as the same for every row, and a twin may come back as its twin.
        if (kind.grids[at].group != -1 && !twin_of(kind.grids[at])) {
          EXPECT_TRUE(stored_in(dir_.path(from)) == stored_in(dir_.path("back")));
        }
        for (const char* name : {"there", "back"}) std::filesystem::remove_all(dir_.path(name));
      }
    for (const ContainerDescriptor* container : containers())
      std::filesystem::remove_all(dir_.path(std::string(container->name)));
    return static_cast<int>(holders.size() * (holders.size() - 1));
  }

  // `some`: of a kind with several widths, 4 bits alone.
  int all_kinds(const std::string& model, bool some) {
    int pairs = 0;
    for (const GridKind& kind : grid_kinds()) {
      if (kind.activation || kind.column_groups) continue;  // not of rounding alone: tests/cli/convert_test.cc
      for (std::size_t at = 0; at < kind.grids.size(); ++at) {
        const int bits = kind.grids[at].bits;
        if (some && kind.grids.size() > 1 && bits != 4) continue;
        SCOPED_TRACE(kind.name + " " + kind.grids[at].text());
        pairs += there_and_back(model, kind, at);
        if (HasFatalFailure()) return pairs;
      }
    }
    return pairs;
  }

  // `model` with scales of the type that float16 models have, as GPTQ and GGUF store them.
  std::string halved(const std::string& model) {
    const std::string out = dir_.path("model");
    std::filesystem::copy(model, out);
    auto config = parse_json(read_file(out + "/config.json"), "config.json");
    VN_EXPECT_OK(config);
    config->erase("torch_dtype");
    (*config)["dtype"] = "float16";
    VN_EXPECT_OK(write_file_atomic(out + "/config.json", dump_json(*config, 2)));
    return out;
  }

  testing::TempDir dir_;
};

TEST_F(RoundTrips, OfARandomModelWithOddShapes) {
  const std::string model = dir_.path("odd");
  ASSERT_EQ(run_vernier({"make-model", "--arch", "qwen2", "--hidden", "96", "--layers", "1", "--intermediate", "224",
                         "--heads", "3", "--kv-heads", "1", "--vocab", "300", "-o", model, "--quiet"})
                .exit_code,
            0);
  EXPECT_GE(all_kinds(halved(model), false), 100);
}

TEST_F(RoundTrips, OfTheBundledModel) { EXPECT_GE(all_kinds(halved(testing::bundled_model()), true), 20); }

TEST_F(RoundTrips, OfStories260k) {
  VN_NEEDS_SHARED();
  EXPECT_GE(all_kinds(halved(testing::shared_dir() + "/models/stories260k"), false), 20);
}

}  // namespace
}  // namespace vernier
