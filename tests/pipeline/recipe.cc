#include "vernier/recipe.h"

#include <fstream>

#include "pipeline/glob.h"
#include "pipeline/plan_weights.h"
#include "pipeline/recipe_schema.h"
#include "support/support.h"

namespace vernier {
namespace {

using testing::TempDir;

Recipe parsed(std::string_view yaml, const std::vector<std::string>& sets = {}) {
  Result<Recipe> recipe = parse_recipe(yaml, "test.yaml", sets);
  EXPECT_TRUE(recipe.ok()) << recipe.error().text();
  return recipe.ok() ? *recipe : Recipe{};
}

// The whole error, hint included; "" when there was none.
std::string refusal(std::string_view yaml, const std::vector<std::string>& sets = {}) {
  const Result<Recipe> recipe = parse_recipe(yaml, "test.yaml", sets);
  return recipe.ok() ? "" : recipe.error().text();
}

void expect_has(const std::string& text, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

std::string option(const MethodChoice& choice, const std::string& name) {
  for (const auto& [key, value] : choice.options)
    if (key == name) return value;
  return "absent";
}

TEST(Recipe, BuiltInRecipesLoadAndSayWhatTheyAre) {
  const std::vector<std::string> names = recipe_names();
  for (const char* wanted : {"w8a16-rtn", "w4a16-rtn", "w4a16-gptq", "w3a16-gptq", "w2a16-gptq", "w4a16-awq",
                             "w8a8-smoothquant", "w4a8-dgq", "w3a8-dg", "w2a8-dg"})
    EXPECT_EQ(std::count(names.begin(), names.end(), wanted), 1) << wanted;
  for (const std::string& name : names) {
    const Result<Recipe> recipe = load_recipe(name);
    ASSERT_TRUE(recipe.ok()) << recipe.error().text();
    EXPECT_EQ(recipe->name, name);
    EXPECT_FALSE(recipe->summary.empty()) << name;
    EXPECT_FALSE(recipe->source.empty()) << name;
  }
}

TEST(Recipe, DefaultsFollowTheNumberOfBits) {
  for (const int bits : {4, 8}) {
    const Recipe recipe = parsed("weights: {bits: " + std::to_string(bits) + "}");
    EXPECT_TRUE(recipe.weights.is_symmetric());
    EXPECT_EQ(recipe.weights.group_size(), 128);
  }
  for (const int bits : {2, 3}) {
    const Recipe recipe = parsed("weights: {bits: " + std::to_string(bits) + "}");
    EXPECT_FALSE(recipe.weights.is_symmetric());
    EXPECT_EQ(recipe.weights.group_size(), 64);
  }
  const Recipe w8a8 = *load_recipe("w8a8-smoothquant");
  EXPECT_EQ(w8a8.weights.group_size(), 0);
  EXPECT_TRUE(w8a8.activations.dynamic);
  EXPECT_EQ(w8a8.activations.granularity, "token");
}

TEST(Recipe, ScalesTakeTheFormatsTypeOrTheModels) {
  const auto type = [](const std::string& weights, DType model) {
    return grid_spec(parsed("weights: {" + weights + "}").weights, model).scale_dtype;
  };
  EXPECT_EQ(type("format: int", DType::bf16), DType::bf16);
  EXPECT_EQ(type("format: int", DType::f32), DType::f16);
  EXPECT_EQ(type("format: dual", DType::bf16), DType::f32);
  EXPECT_EQ(type("format: dual, scale_dtype: f16", DType::bf16), DType::f16);  // which the format then refuses
}

TEST(Recipe, SetTakesShortKeysAndTypedValues) {
  const std::vector<std::string> sets{
      "bits=3",    "group=channel", "weights.symmetric=false", "activations.bits=8", "activations.dynamic=false",
      "damp=0.05", "solver=gptq",   "ignore=['*.foo', bar]",   "samples=7"};
  const Recipe recipe = parsed("weights: {bits: 4}\nsolver: rtn\n", sets);
  EXPECT_EQ(recipe.weights.bits, 3);
  EXPECT_EQ(recipe.weights.group_size(), 0);
  EXPECT_FALSE(recipe.weights.is_symmetric());
  EXPECT_EQ(recipe.activations.bits, 8);
  EXPECT_EQ(recipe.activations.granularity, "tensor");  // static scales are per tensor
  EXPECT_EQ(recipe.solver.name, "gptq");
  EXPECT_EQ(option(recipe.solver, "damp"), "0.05");
  EXPECT_EQ(recipe.ignore, (std::vector<std::string>{"*.foo", "bar"}));
  EXPECT_EQ(recipe.calibration.samples, 7);
  EXPECT_EQ(parsed("{}", {"group=tensor"}).weights.group_size(), -1);
  EXPECT_EQ(parsed("{}", {"group=96"}).weights.group_size(), 96);
}

TEST(Recipe, SetCanReplaceMethods) {
  Recipe recipe = parsed("transforms: [awq]\nsolver: {gptq: {damp: 0.02}}", {"solver=rtn", "transforms=[]"});
  EXPECT_EQ(recipe.solver.name, "rtn");
  EXPECT_TRUE(recipe.transforms.empty());
  recipe = parsed("{}", {"awq.grid=7", "transforms=[awq, {smoothquant: {alpha: 0.7}}]"});
  ASSERT_EQ(recipe.transforms.size(), 2u);
  EXPECT_EQ(option(recipe.transforms[0], "grid"), "7");
  EXPECT_EQ(option(recipe.transforms[1], "alpha"), "0.7");
  recipe = parsed("{}", {"alpha=0.25", "transforms=[smoothquant]"});
  EXPECT_EQ(option(recipe.transforms[0], "alpha"), "0.25");
}

TEST(Recipe, OverridesInheritUnlessTheySay) {
  const Recipe recipe = parsed(
      "weights: {bits: 4, range: mse}\n"
      "overrides:\n"
      "  - match: '*.down_proj.weight'\n"
      "    weights: {bits: 2}\n"
      "  - {match: '*.v_proj.weight', weights: {bits: 16}}\n");
  ASSERT_EQ(recipe.overrides.size(), 2u);
  EXPECT_EQ(recipe.overrides[0].weights.range, "mse");
  EXPECT_EQ(recipe.overrides[0].weights.bits, 2);
  EXPECT_EQ(recipe.overrides[0].weights.group_size(), 64);  // the default of 2 bits, not the recipe's 128
  EXPECT_EQ(recipe.overrides[1].weights.bits, 16);
}

TEST(Recipe, SetsOfLayersBecomeTheirNumbers) {
  const auto patterns = [](const std::string& match, std::int64_t layers) {
    Recipe recipe = parsed("overrides: [{match: \"" + match + "\"}, {match: last}]");
    VN_EXPECT_OK(expand_layer_sets(recipe, layers));
    std::vector<std::string> all;
    for (const TensorOverride& rule : recipe.overrides) all.push_back(rule.match);
    return all;
  };
  using Patterns = std::vector<std::string>;
  EXPECT_EQ(patterns("*.{more-bits}.v", 6), (Patterns{"*.2.v", "*.5.v", "last"}));
  EXPECT_EQ(patterns("*.{more-bits}.v", 16),
            (Patterns{"*.0.v", "*.1.v", "*.4.v", "*.7.v", "*.10.v", "*.13.v", "*.14.v", "*.15.v", "last"}));
  EXPECT_EQ(patterns("*.{first-sixteenth}.v", 15), (Patterns{"last"}));
  EXPECT_EQ(patterns("*.{first-sixteenth}.v", 32), (Patterns{"*.0.v", "*.1.v", "last"}));
  const auto refused = [](const std::string& match, std::int64_t layers) {
    Recipe recipe = parsed("overrides: [{match: \"" + match + "\"}]");
    const Status status = expand_layer_sets(recipe, layers);
    return status.ok() ? std::string() : status.error().text();
  };
  for (const char* wrong : {"*.{even}.v", "*.{more-bits", "{"}) expect_has(refused(wrong, 8), {"no set of layers"});
  expect_has(refused("*.{more-bits}.v", 0), {"number of layers"});
}

TEST(Recipe, YamlIsCompleteAndParsesToItself) {
  std::vector<Recipe> recipes;
  for (const std::string& name : recipe_names()) recipes.push_back(*load_recipe(name));
  recipes.push_back(
      parsed("name: \"odd \\\" \\\\ \\t name\"\nsummary: 'λ: # not a comment'\n"
             "transforms: [{awq: {scales: duo, clip: false}}, smoothquant]\nsolver: {gptq: {damp: 0.1}}\n"
             "ignore: []\noverrides: [{match: '*a: b*', weights: {group: tensor, percentile: 99.123456789}}]\n"
             "calibration: {seed: 9007199254740991, spill: f32}\n"));
  for (const Recipe& recipe : recipes) {
    const std::string yaml = recipe.yaml();
    const Recipe again = parsed(yaml);
    EXPECT_EQ(again.yaml(), yaml);
    EXPECT_EQ(again.name, recipe.name);
    EXPECT_EQ(again.ignore, recipe.ignore);
    EXPECT_EQ(again.solver.options, recipe.solver.options);
    EXPECT_EQ(again.weights.symmetric, recipe.weights.symmetric);
    for (const RecipeKeyHelp& key : recipe_keys())
      EXPECT_NE(yaml.find(key.path.substr(key.path.rfind('.') + 1) + ": "), std::string::npos) << key.path;
  }
}

TEST(Recipe, UnknownKeysSuggestTheNearest) {
  expect_has(refusal("name: x\nwieghts: {bits: 4}"), {"test.yaml:2", "wieghts", "did you mean \"weights\""});
  expect_has(refusal("weights:\n  bits: 4\n  gruop: 64\n"), {"test.yaml:3", "weights.group"});
  expect_has(refusal("bits: 4"), {"test.yaml:1", "did you mean \"weights.bits\""});
  expect_has(refusal("{}", {"weigts.bits=4"}), {"--set weigts.bits=4", "weights.bits"});
  expect_has(refusal("solver:\n  gptq:\n    dmap: 0.1"), {"test.yaml:3", "dmap", "damp"});
  expect_has(refusal("solver: gtpq"), {"test.yaml:1", "gtpq", "gptq"});
  expect_has(refusal("overrides: [{match: a, wieghts: {}}]"), {"overrides[0]", "weights"});
  expect_has(refusal("{}", {"spilled=f32"}), {"unknown key"});
}

TEST(Recipe, WrongValuesSayWantedAndFound) {
  expect_has(refusal("weights:\n  bits: nine"), {"test.yaml:2", "weights.bits", "2 to 8, or 16", "\"nine\""});
  for (const char* bits : {"1", "9", "15", "17", "-4", "4.0", "\"4\"", "[4]", "99999999999999999999", "~"})
    EXPECT_NE(refusal(std::string("weights: {bits: ") + bits + "}"), "") << bits;
  for (const char* bits : {"3", "9"}) EXPECT_NE(refusal(std::string("activations: {bits: ") + bits + "}"), "") << bits;
  for (const char* group : {"0", "-1", "row", "1.5", "16777217"})
    EXPECT_NE(refusal(std::string("weights: {group: ") + group + "}"), "") << group;
  expect_has(refusal("weights: {range: median}"), {"minmax, percentile, mse or search", "\"median\""});
  expect_has(refusal("weights: {percentile: nan}"), {"weights.percentile", "50 to 100"});
  expect_has(refusal("weights: {symmetric: 1}"), {"true or false"});
  expect_has(refusal("solver: {gptq: {damp: much}}"), {"test.yaml:1", "damp", "much"});
  expect_has(refusal("transforms: [{smoothquant: {alpha: 2}}]"), {"alpha", "from 0 to 1"});
  expect_has(refusal("transforms: [{awq: {edges: nrom}}]"), {"edges", "nrom"});
  expect_has(refusal("solver: awq"), {"awq is not a solver", "transforms"});
  expect_has(refusal("transforms: [rtn]"), {"rtn is not a transform"});
  expect_has(refusal("transforms: awq"), {"transforms", "list"});
  expect_has(refusal("solver: {gptq: {}, rtn: {}}"), {"test.yaml:1", "method"});
  expect_has(refusal("overrides: [{weights: {bits: 4}}]"), {"match", "missing"});
  expect_has(refusal("ignore: lm_head"), {"ignore", "list"});
  expect_has(refusal("weights: 4"), {"weights", "map"});
  expect_has(refusal("weights: 4", {"bits=3"}), {"weights", "map"});
  expect_has(refusal("{}", {"bits"}), {"key=value"});
  expect_has(refusal("{}", {"bits="}), {"weights.bits", "nothing"});
}

TEST(Recipe, AmbiguousKeysAreRefusedUnlessWeightsHasThem) {
  EXPECT_EQ(parsed("{}", {"range=mse"}).weights.range, "mse");
  expect_has(refusal("transforms: [awq, smoothquant]", {"max_tokens=9"}),
             {"transforms.awq.max_tokens", "transforms.smoothquant.max_tokens"});
}

TEST(Recipe, MalformedYamlIsAnErrorWithItsLine) {
  expect_has(refusal("name: x\n  bad: [1, 2\n"), {"test.yaml:", "YAML"});
  for (const char* yaml : {"",
                           "- a",
                           "just text",
                           "a: b: c",
                           "{",
                           "[",
                           "\"",
                           "&a b",
                           "x: &a [1]\ny: *a",
                           "&a [*a]",
                           "a: !!int 4",
                           "--- {}\n--- {}",
                           "? [a]\n: b",
                           "name: x\nname: y",
                           "\t",
                           "%YAML 9",
                           "*",
                           "|",
                           "{a: }}",
                           "\x00\x01\xff",
                           "weights: {? bits}"})
    EXPECT_NE(refusal(yaml), "") << yaml;
  EXPECT_NE(refusal(std::string(100000, '[')), "");
  EXPECT_NE(refusal(std::string(2 << 20, ' ')), "");
  std::string nested = "a: ";
  for (int i = 0; i < 40; ++i) nested += "{a: ";
  EXPECT_NE(refusal(nested + std::string(40, '}')), "");
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "k" + std::to_string(i) + ": 1\n";
  expect_has(refusal(many), {"more than"});
}

TEST(Recipe, LoadsFilesAndSuggestsNames) {
  TempDir dir;
  const std::string path = dir.path("mine.yaml");
  std::ofstream(path) << "weights: {bits: 5}\n";
  const Result<Recipe> recipe = load_recipe(path, {"group=32"});
  VN_ASSERT_OK(recipe);
  EXPECT_EQ(recipe->name, "mine");
  EXPECT_EQ(recipe->weights.bits, 5);
  EXPECT_EQ(recipe->weights.group_size(), 32);
  std::ofstream(path) << "weights:\n  bit: 5\n";
  expect_has(load_recipe(path).error().text(), {path + ":2", "weights.bits"});
  const Result<Recipe> misspelt = load_recipe("w4a16-gtpq");
  ASSERT_FALSE(misspelt.ok());
  EXPECT_EQ(misspelt.error().code, ErrorCode::not_found);
  expect_has(misspelt.error().text(), {"w4a16-gptq"});
}

TEST(Recipe, IgnoresHeadsEmbeddingsAndRoutersOnly) {
  const Recipe recipe = parsed("{}");
  const auto ignored = [&](std::string_view name) {
    return std::any_of(recipe.ignore.begin(), recipe.ignore.end(),
                       [&](const std::string& glob) { return match_glob(glob, name); });
  };
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight", "model.decoder.embed_positions.weight",
                           "model.layers.3.block_sparse_moe.gate.weight", "model.layers.3.mlp.gate.weight",
                           "model.decoder.project_in.weight", "model.decoder.project_out.weight"})
    EXPECT_TRUE(ignored(name)) << name;
  for (const char* name : {"model.layers.0.mlp.gate_proj.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.0.block_sparse_moe.experts.1.w1.weight", "model.decoder.layers.0.fc1.weight",
                           "model.decoder.layers.0.self_attn.out_proj.weight"})
    EXPECT_FALSE(ignored(name)) << name;
}

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(match_glob("", ""));
  EXPECT_FALSE(match_glob("", "a"));
  EXPECT_TRUE(match_glob("*", ""));
  EXPECT_TRUE(match_glob("a?c", "abc"));
  EXPECT_FALSE(match_glob("a?c", "ac"));
  EXPECT_TRUE(match_glob("*.down.weight", "model.layers.0.down.weight"));
  EXPECT_FALSE(match_glob("*.down", "model.down.weight"));
  EXPECT_TRUE(match_glob("*a*b*c", "xxaxbxbxc"));
  EXPECT_FALSE(match_glob("*a*b*c", "xxaxcxb"));
  std::string stars, as(5000, 'a');
  for (int i = 0; i < 200; ++i) stars += "a*";
  EXPECT_FALSE(match_glob(stars + "b", as));
}

}  // namespace
}  // namespace vernier
