#include "methods/method.h"
#include "base/fail.h"
#include "methods/rotate/model.h"

namespace vernier {
namespace {

Result<std::unique_ptr<ModelSource>> rewrite(std::shared_ptr<const ModelSource> model, const Options& options,
                                             std::vector<std::string>& notes) {
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  TensorRewrites rewrites;
  bool untie = false;
  if (options.flag("residual")) {
    VN_ASSIGN(const ResidualStream stream, ResidualStream::find(model->graph()));
    VN_ASSIGN(const OrthogonalPtr q,
              random_rotation(model->graph().hidden, seed, stream.layer_norm ? Keep::ones : Keep::nothing));
    VN_TRY(rotate_residual(*model, stream, q, rewrites));
    untie = stream.tied_head;
    if (untie)
      notes.push_back(
          "rotate: the head gets a weight of its own, because it takes the final norm's and the embedding "
          "does not");
  }
  if (options.flag("values")) VN_TRY(rotate_values(*model, seed + 1, rewrites));
  return rewritten_source(std::move(model), std::move(rewrites), untie);
}

Status validate(const Options& options) {
  if (options.integer("seed") < 0)
    return fail(ErrorCode::invalid, "seed: wanted 0 or more, found {}", options.integer("seed"));
  return {};
}

}  // namespace

namespace units {
extern const MethodDescriptor method_rotate;
const MethodDescriptor method_rotate{
    .name = "rotate",
    .summary =
        "turns the residual stream and the value heads by random Hadamard matrices, so that no channel stands out",
    .source = "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs (2024), the parts that fold into weights",
    .role = MethodDescriptor::Role::transform,
    .options =
        {
            {"seed", std::int64_t{0}, "of the signs; any value >= 0"},
            {"residual", true, "turn the residual stream (R1): embedding, every linear that reads or writes it, head"},
            {"values", true, "turn each head between v and o (R2)"},
        },
    .rewrite_model = rewrite,
    .validate = validate,
};
}  // namespace units
}  // namespace vernier
