// The quantization_config of compressed-tensors: config groups, each a set of target modules with arguments for their
// weights and inputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/activation.h"
#include "vernier/format.h"

namespace vernier::compressed_tensors {

struct Group {
  std::vector<std::string> targets;  // module names, "re:" patterns, or module classes ("Linear")
  int bits = 8;
  bool symmetric = true;
  std::int64_t group_size = 0;               // 0: channel, -1: tensor
  std::optional<ActivationSpec> activation;  // a static scale is in the module's tensors, not here
  std::string where;                         // ".../config.json: quantization_config.config_groups.group_0"
};

struct Scheme {
  std::vector<Group> groups;

  // The group of a module: exact names before patterns before classes, as compressed-tensors resolves them.
  Result<const Group*> group_of(const std::string& module) const;
};

// `config` is a whole config.json, `where` its path. Refuses what cannot be decoded here (float types, block scales,
// sparsity, online transforms, quantized outputs), naming the key.
Result<Scheme> parse_scheme(const Json& config, const std::string& where);

// The arguments under which compressed-tensors decodes weights of `grid`, and quantizes inputs as `activation` says.
Json weight_args(const GridSpec& grid);
Json activation_args(const ActivationSpec& activation);

}  // namespace vernier::compressed_tensors
