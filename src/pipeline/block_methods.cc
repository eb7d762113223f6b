#include "pipeline/block_methods.h"

#include <algorithm>

#include "base/fail.h"

namespace vernier {
namespace {

struct Resolved {
  const MethodDescriptor* method;
  Options options;
};

Result<Resolved> resolve(const MethodChoice& choice, MethodDescriptor::Role role) {
  VN_ASSIGN(const MethodDescriptor* method, find_method(choice.name));
  if (method->role != role) {
    const bool solver = role == MethodDescriptor::Role::solver;
    return fail(ErrorCode::invalid, "recipe: {} is a {}, a {} was wanted", choice.name, solver ? "transform" : "solver",
                solver ? "solver" : "transform");
  }
  VN_ASSIGN(Options options, resolve_options(*method, choice.options));
  if (method->validate) VN_TRY(method->validate(options));
  return Resolved{method, std::move(options)};
}

}  // namespace

Result<BlockMethods> BlockMethods::make(const Recipe& recipe) {
  BlockMethods methods;
  VN_ASSIGN(const Resolved solver, resolve(recipe.solver, MethodDescriptor::Role::solver));
  methods.solver = solver.method->make_solver(solver.options);
  methods.needs_hessian = solver.method->needs_hessian;
  methods.needs_importance = solver.method->needs_importance && solver.method->needs_importance(solver.options);
  for (const MethodChoice& choice : recipe.transforms) {
    VN_ASSIGN(const Resolved transform, resolve(choice, MethodDescriptor::Role::transform));
    if (transform.method->rewrite_model) continue;  // the source is rewritten already
    methods.transforms.push_back(transform.method->make_transform(transform.options));
  }
  return methods;
}

bool BlockMethods::needs_statistics(const std::map<std::string, LinearPlan>& plans) const {
  return std::any_of(plans.begin(), plans.end(), [&](const auto& entry) {
    return entry.second.grid && (needs_hessian || measures_range(entry.second) || gathers_importance(entry.second));
  });
}

bool measures_range(const LinearPlan& plan) { return plan.activation && !plan.activation->dynamic; }

}  // namespace vernier
