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
  std::vector<std::string> targets;          // module names, "re:" patterns, or module classes ("Linear")
  GridSpec grid;                             // its scale_dtype is the tensors' to say
  std::optional<ActivationSpec> activation;  // a static scale is in the module's tensors, not here
  std::string where;                         // ".../config.json: quantization_config.config_groups.group_0"
};

struct Scheme {
  std::vector<Group> groups;
  std::vector<std::string> ignore;  // module names, patterns or classes that stay in floats
  int kv_bits = 0;                  // of kv_cache_scheme; 0: none
  std::string where;                // ".../config.json: quantization_config"

  // The group of a module: exact names before patterns before classes, as compressed-tensors resolves them.
  Result<const Group*> group_of(const std::string& module) const;
  // The same, null where none matches. `linear`: whether the module is of class Linear.
  Result<const Group*> find_group(const std::string& module, bool linear) const;
  // Whether a name or a pattern of `ignore` is the module's.
  Result<bool> ignores(const std::string& module) const;
};

// `config` is a whole config.json, `where` its path. Refuses what cannot be decoded here (sparsity, online
// transforms, quantized outputs, other widths), naming the key. Quantizers of inputs that have no counterpart here
// (4-bit floats, groups of columns) are left out with a warning: inputs then stay in floats.
Result<Scheme> parse_scheme(const Json& config, const std::string& where);

// The arguments under which compressed-tensors decodes weights of `grid`, and quantizes inputs as `activation` says.
Json weight_args(const GridSpec& grid);
Json activation_args(const ActivationSpec& activation);

}  // namespace vernier::compressed_tensors
