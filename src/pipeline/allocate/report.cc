#include <algorithm>

#include "base/fail.h"
#include "base/memory.h"
#include "pipeline/allocate/target.h"

namespace vernier {
namespace {

std::string_view costs_text(AllocationReport::Costs costs) {
  switch (costs) {
    case AllocationReport::Costs::divergence:
      return "kl";
    case AllocationReport::Costs::hessian:
      return "hessian";
    case AllocationReport::Costs::provisional:
      break;
  }
  return "provisional";
}

std::size_t candidates_measured(const AllocationReport& report) {
  std::size_t count = 0;
  for (const AllocatedTensor& tensor : report.tensors)
    count += tensor.candidates.size() > 1 ? tensor.candidates.size() : 0;
  return count;
}

}  // namespace

std::string allocation_note(const AllocationReport& report, const Plan& plan) {
  if (report.costs != AllocationReport::Costs::provisional)
    return fmt::format("grids chosen by measured sensitivities ({}): predicted {:.5f}, {:.3f} of {} bits per weight",
                       costs_text(report.costs), report.cost, report.bits_per_weight, report.target);
  std::string note = fmt::format(
      "grids are provisional, of the right total size: vernier quantize first measures {} "
      "candidates, within {}",
      candidates_measured(report), format_bytes(report.peak_bytes));
  if (plan.seconds > 0 && plan.flops > 0)
    note += fmt::format(", in about {:.0f} s", 2 * report.work * plan.seconds / plan.flops);
  return note;
}

Json allocation_json(const AllocationReport& report) {
  Json tensors = Json::array();
  for (std::size_t t = 0; t < report.tensors.size(); ++t) {
    const AllocatedTensor& tensor = report.tensors[t];
    Json candidates = Json::array();
    for (std::size_t c = 0; c < tensor.candidates.size(); ++c) {
      Json candidate = {{"grid", tensor.candidates[c].grid.text()}, {"bits", tensor.candidates[c].bits}};
      if (report.costs != AllocationReport::Costs::provisional && tensor.candidates.size() > 1) {
        candidate["cost"] = report.sensitivities[t][c].cost;
        candidate["error"] = report.sensitivities[t][c].error;
        candidate["measured"] = report.sensitivities[t][c].measured;
      }
      candidates.push_back(std::move(candidate));
    }
    tensors.push_back({{"name", tensor.name},
                       {"chosen", tensor.candidates[report.choice[t]].grid.text()},
                       {"candidates", std::move(candidates)}});
  }
  return {{"target_bpw", report.target},
          {"bits_per_weight", report.bits_per_weight},
          {"costs", costs_text(report.costs)},
          {"predicted", report.cost},
          {"gap", report.gap},
          {"measure_flops", 2 * report.work},
          {"measure_peak_bytes", report.peak_bytes},
          {"measure_seconds", report.seconds},
          {"tensors", std::move(tensors)}};
}

std::string allocation_table(const AllocationReport& report) {
  if (report.costs == AllocationReport::Costs::provisional) return {};
  std::vector<std::string> labels;
  for (const AllocatedTensor& tensor : report.tensors)
    for (const CandidateGrid& candidate : tensor.candidates)
      if (tensor.candidates.size() > 1 && std::find(labels.begin(), labels.end(), candidate.label()) == labels.end())
        labels.push_back(candidate.label());
  const bool kl = report.costs == AllocationReport::Costs::divergence;
  std::string text = fmt::format("{:<48} {:<7}", kl ? "KL with one tensor quantized" : "error proxy", "chosen");
  for (const std::string& label : labels) text += fmt::format(" {:>9}", label);
  text += '\n';
  for (std::size_t t = 0; t < report.tensors.size(); ++t) {
    const AllocatedTensor& tensor = report.tensors[t];
    text += fmt::format("{:<48} {:<7}", tensor.name, tensor.candidates[report.choice[t]].label());
    for (const std::string& label : labels) {
      const auto at = std::find_if(tensor.candidates.begin(), tensor.candidates.end(),
                                   [&](const CandidateGrid& c) { return c.label() == label; });
      const bool measured = at != tensor.candidates.end() && tensor.candidates.size() > 1;
      text += measured ? fmt::format(" {:>9.2e}", report.sensitivities[t][at - tensor.candidates.begin()].cost)
                       : fmt::format(" {:>9}", "-");
    }
    text += '\n';
  }
  return text + fmt::format("sum of the chosen {:.5f}, within {:.2g} of the least for {:.3f} bits per weight\n\n",
                            report.cost, report.gap, report.bits_per_weight);
}

}  // namespace vernier
