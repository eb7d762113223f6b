// A recipe: which transforms, which solver, which grids for which tensors. YAML in recipes/, every key settable on the
// command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vernier/status.h"

namespace vernier {

// weights.* of a recipe, or of one override. Unset keys take the defaults of the number of bits: symmetric groups of
// 128 at 4 bits and above, asymmetric groups of 64 below.
struct WeightSpec {
  std::string format = "int";
  int bits = 4;
  std::optional<bool> symmetric;
  std::optional<std::int64_t> group;  // "channel" = 0, "tensor" = -1
  std::int64_t group_rows = 1;        // rows of a block that shares a scale
  std::string scale_dtype = "auto";   // auto (the format's, else the model's half type) | f16 | bf16 | f32
  std::string range = "minmax";       // minmax | percentile | mse | search (the format's own)
  double percentile = 99.9;
  int mse_grid = 100;
  double mse_max_shrink = 0.2;
  double mse_norm = 2.4;

  bool is_symmetric() const { return symmetric.value_or(bits >= 4); }
  std::int64_t group_size() const { return group.value_or(bits >= 4 ? 128 : 64); }
};

struct ActivationRecipe {
  int bits = 16;               // 16: not quantized
  std::string format = "int";  // int | fp8: E4M3 floats
  bool symmetric = true;
  bool dynamic = true;
  std::string granularity = "token";  // token | tensor (static is always per tensor)
  std::int64_t group = 0;             // dynamic, token: columns that share a scale; 0 all
  std::string range = "minmax";       // minmax | percentile: static only
  double percentile = 99.99;
};

struct TensorOverride {
  std::string match;   // glob on the weight's name: "*.down_proj.weight"; "*.{more-bits}.*": see expand_layer_sets()
  WeightSpec weights;  // the recipe's, with this override's keys replaced; bits 16 keeps high precision
};

// A method by name with the options given for it; the rest are its defaults.
struct MethodChoice {
  std::string name;
  std::vector<std::pair<std::string, std::string>> options;
};

struct Recipe {
  std::string name, summary, source;
  WeightSpec weights;
  ActivationRecipe activations;
  std::vector<MethodChoice> transforms;
  MethodChoice solver{"rtn", {}};
  // Globs of weights that stay as they are: head, embeddings and the projections beside them, expert routers.
  std::vector<std::string> ignore{"*lm_head*", "*embed*", "*project_in*", "*project_out*", "*router*", "*.gate.weight"};
  std::vector<TensorOverride> overrides;  // the first match wins
  struct Calibration {
    std::int64_t samples = 128, ctx = 512;
    std::uint64_t seed = 0;
    bool true_sequential = true;  // later linears of a block see quantized earlier ones
    bool propagate = true;        // later blocks see quantized earlier ones
    std::string spill = "bf16";   // element type of activations between passes: bf16 | f32
  } calibration;
  std::string compute = "f32";  // f32 | bf16: products of the calibration forward
  // Bits per quantized weight, scales included, for which an allocator chooses the grid of every tensor that no
  // override names; 0: every tensor has the grid that `weights` says.
  double target_bpw = 0;
  std::string sensitivity = "auto";  // auto | kl | hessian: what target_bpw goes by

  // The resolved recipe as YAML, every key present, stable order: what is journaled and stored beside the output.
  std::string yaml() const;
};

// `recipe`: a built-in name ("w4a16-gptq") or a path to a YAML file; then each "key=value" of `sets`. A key may be
// shortened to its last parts when that is unique ("group" for weights.group, "gptq.damp" or "damp" for solver
// options); where weights and another section end alike ("bits"), weights is meant. `solver=rtn` and `transforms=[awq]`
// work too. Unknown keys are refused with the nearest known one; errors name file and line. What comes back is
// resolved: symmetric and group are set everywhere, methods carry all their options.
Result<Recipe> load_recipe(const std::string& recipe, const std::vector<std::string>& sets = {});
Result<Recipe> parse_recipe(std::string_view yaml, std::string_view where, const std::vector<std::string>& sets = {});
std::vector<std::string> recipe_names();  // built in

}  // namespace vernier
