// What `vernier list grids` calls held as it is comes back bit for bit: every grid, from every container that holds it
// into every other and back.
#include <fmt/format.h>

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

const char* scale_type(const GridSpec& grid) {
  return grid.scale_dtype == DType::bf16 ? "bf16" : grid.scale_dtype == DType::f16 ? "f16" : "f32";
}

class RoundTrips : public ::testing::Test {
 protected:
  // The model quantized as `kind` says, with calibration on its own text where columns are to be ordered; false where
  // the container does not hold the model's shapes.
  bool quantize(const std::string& model, const GridKind& kind, const GridSpec& grid, const std::string& container,
                const std::string& out) {
    std::vector<std::string> arguments = {"quantize",    model,     "-o",      out,
                                          "--container", container, "--quiet", "--recipe"};
    std::vector<std::string> settings = {
        fmt::format("bits={}", grid.bits), fmt::format("symmetric={}", grid.symmetric),
        fmt::format("weights.scale_dtype={}", scale_type(grid)),
        grid.group == 0 ? std::string("group=channel") : "group=32"};  // 32 divides more rows than 128 does
    if (kind.column_groups) {
      arguments.insert(arguments.end(), {"w4a16-gptq", "--calib", "self", "--samples", "1", "--ctx", "16"});
      settings.insert(settings.end(), {"order=act", "weights.range=minmax"});
    } else if (kind.activation->floating) {
      arguments.emplace_back("w8a8-fp8");
    } else {
      arguments.emplace_back("w8a8-smoothquant");
      settings.emplace_back("transforms=[]");
    }
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    const bool done = run_vernier(arguments).exit_code == 0;
    std::filesystem::remove_all(out + ".run");
    return done;
  }

  // The model rounded to `grid` in a container; false where that does not hold the model's shapes.
  bool round(const std::string& model, const GridSpec& grid, const std::string& container, const std::string& out) {
    auto recipe = load_recipe("w4a16-rtn", {});
    VN_EXPECT_OK(recipe);
    recipe->weights = {.format = grid.format,
                       .bits = grid.bits,
                       .symmetric = grid.symmetric,
                       .group = grid.group,
                       .group_rows = grid.group_rows,
                       .scale_dtype = scale_type(grid)};
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
    std::map<std::string, GridSpec> held;
    for (const ContainerDescriptor* container : containers())
      if (const auto grid = held_as(*container, kind, at)) held.emplace(container->name, *grid);
    if (held.size() < 2) return 0;
    std::vector<std::string> holders;
    for (const auto& [name, grid] : held) {
      const std::string out = dir_.path(name);
      if (kind.activation || kind.column_groups ? quantize(model, kind, grid, name, out)
                                                : round(model, grid, name, out))
        holders.push_back(name);
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
    for (const std::string& name : holders) std::filesystem::remove_all(dir_.path(name));
    return static_cast<int>(holders.size() * (holders.size() - 1));
  }

  // `some`: of a kind with several widths, one alone. `special`: at least so many pairs have columns in another order
  // or quantized inputs.
  int all_kinds(const std::string& model, bool some, int special) {
    int pairs = 0, special_pairs = 0;
    for (const GridKind& kind : grid_kinds()) {
      for (std::size_t at = 0; at < kind.grids.size(); ++at) {
        const int bits = kind.grids[at].bits;
        if (some && kind.grids.size() > 1 && bits != (kind.activation ? 8 : 4)) continue;
        SCOPED_TRACE(kind.name + " " + kind.grids[at].text());
        const int more = there_and_back(typed(model, kind.grids[at]), kind, at);
        if (HasFatalFailure()) return pairs;
        pairs += more;
        if (kind.activation || kind.column_groups) special_pairs += more;
      }
    }
    EXPECT_GE(special_pairs, special);
    return pairs;
  }

  // `model` as one of the type that scales of `grid` have: loaders convert them to it.
  std::string typed(const std::string& model, const GridSpec& grid) {
    const std::string type = grid.scale_dtype == DType::bf16 ? "bfloat16" : "float16", out = dir_.path(type);
    if (std::filesystem::exists(out)) return out;
    std::filesystem::copy(model, out);
    auto config = parse_json(read_file(out + "/config.json"), "config.json");
    VN_EXPECT_OK(config);
    config->erase("torch_dtype");
    (*config)["dtype"] = type;
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
  EXPECT_GE(all_kinds(model, false, 20), 120);
}

TEST_F(RoundTrips, OfTheBundledModel) { EXPECT_GE(all_kinds(testing::bundled_model(), true, 8), 28); }

TEST_F(RoundTrips, OfStories260k) {
  VN_NEEDS_SHARED();
  EXPECT_GE(all_kinds(testing::shared_dir() + "/models/stories260k", false, 4), 24);
}

}  // namespace
}  // namespace vernier
