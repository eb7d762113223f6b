#include "pipeline/verify_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <unordered_map>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/threads.h"
#include "io/files.h"
#include "tensor/convert.h"
#include "vernier/recipe.h"

namespace vernier {
namespace {

constexpr std::int64_t piece_values = std::int64_t{1} << 18;  // decoded by one worker
constexpr std::int64_t window_values = std::int64_t{1} << 25;
// The relative error of a tensor of zeros; of one that has nothing to do with the source: 1.4. Error feedback on a
// coarse grid goes beyond both, to the good of the products.
constexpr double error_of_zeros = 1;

// recipe.yaml beside a model, or "".
std::string recipe_text(const std::string& model) {
  const std::string folder = is_directory(model) ? model : std::filesystem::path(model).parent_path().string();
  const auto text = read_text_file((folder.empty() ? "." : folder) + "/recipe.yaml", 1 << 20);
  return text.ok() ? *text : std::string();
}

// Whether the model's recipe changed weights on purpose, beyond rounding them, after `source` was written.
bool is_transformed(const std::string& model, const std::string& source) {
  const std::string text = recipe_text(model);
  const auto recipe = parse_recipe(text, "recipe.yaml");
  return recipe.ok() && !recipe->transforms.empty() && text != recipe_text(source);
}

struct Difference {
  double error = 0, norm = 0;  // squares
  bool equal = true;           // bit for bit, or as `rounded` says

  double relative() const { return error == 0 ? 0 : std::sqrt(error / norm); }
};

// `rounded`: the float type that the source's values were rounded to.
Difference difference(const WeightMatrix& model, const WeightMatrix& source, std::int64_t first, std::int64_t count,
                      std::optional<DType> rounded) {
  std::vector<float> ours(count * model.cols()), theirs(ours.size());
  model.decode_rows(first, count, ours.data());
  source.decode_rows(first, count, theirs.data());
  Difference result;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double w = theirs[i], d = w - ours[i];
    result.error += d * d;
    result.norm += w * w;
  }
  if (rounded)
    for (float& value : theirs) value = round_to(*rounded, value);
  result.equal = std::memcmp(ours.data(), theirs.data(), ours.size() * sizeof(float)) == 0;
  return result;
}

template <class Done>
Difference difference(const WeightMatrix& model, const WeightMatrix& source, std::optional<DType> rounded,
                      const Done& done) {
  Difference sum;
  const std::int64_t piece = std::max<std::int64_t>(1, piece_values / std::max<std::int64_t>(1, model.cols()));
  const std::int64_t window = std::max(piece, window_values / std::max<std::int64_t>(1, model.cols()) / piece * piece);
  for (std::int64_t first = 0; first < model.rows(); first += window) {
    const std::int64_t rows = std::min(window, model.rows() - first);
    std::vector<Difference> pieces((rows + piece - 1) / piece);
    parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
      pieces[i] = difference(model, source, first + i * piece, std::min(piece, rows - i * piece), rounded);
    });
    for (const Difference& one : pieces) {  // in order: the same sum at any thread count
      sum.error += one.error;
      sum.norm += one.norm;
      sum.equal = sum.equal && one.equal;
    }
    done();
  }
  return sum;
}

class Comparison {
 public:
  Comparison(const ModelSource& model, const ModelSource& source, VerifyReport& report)
      : model_(model), source_(source), report_(report), result_(report.comparison.emplace()) {
    for (const SourceTensor& tensor : model.tensors()) ours_.emplace(tensor.name, &tensor);
  }

  Status run() {
    result_.transformed = is_transformed(model_.path(), source_.path());
    if (result_.transformed)
      report_.notes.push_back("the recipe transformed the weights: compared with the source by names and shapes only");
    double elements = 0;
    for (const SourceTensor& tensor : source_.tensors()) elements += static_cast<double>(tensor.shape.elements());
    Progress progress("compare", elements);
    for (const SourceTensor& theirs : source_.tensors()) {
      VN_TRY(check_interrupt());
      VN_TRY(compare(theirs));
      progress.advance(static_cast<double>(theirs.shape.elements()), theirs.name);
    }
    if (!far_.empty()) report_.notes.push_back("no nearer to the source than zeros are: " + listed(far_));
    for (const auto& [types, names] : converted_)
      report_.notes.push_back(fmt::format("{} in the source, {} here: {}", types.first, types.second, listed(names)));
    return {};
  }

 private:
  void wrong(const SourceTensor& tensor, std::string what, std::string wanted, std::string found) {
    report_.problems.push_back({tensor.name, std::move(what), std::move(wanted), std::move(found)});
  }

  Status compare(const SourceTensor& theirs) {
    const auto found = ours_.find(theirs.name);
    if (found == ours_.end()) {
      missing(theirs);
      return {};
    }
    const SourceTensor& ours = *found->second;
    const std::optional<DType> type = plain_type(ours), from = plain_type(theirs);
    ++(!type ? result_.quantized : type == from ? result_.copied : result_.converted);
    if (type && type != from) converted_[{theirs.format, ours.format}].push_back(theirs.name);
    if (ours.shape != theirs.shape) {
      wrong(ours, "of another shape than in the source", theirs.shape.text(), ours.shape.text());
      return {};
    }
    const bool integers = (type && !is_float(*type)) || (from && !is_float(*from));
    return result_.transformed || integers ? Status() : compare_values(ours, theirs, type);
  }

  void missing(const SourceTensor& tensor) {
    const bool tied = source_.graph().tied_head && tensor.name.ends_with("lm_head.weight");
    const bool derived = tensor.name.ends_with("rotary_emb.inv_freq");
    if (!tied && !derived)
      return wrong(tensor, "in the source, but not here", tensor.format + " " + tensor.shape.text(), "no such tensor");
    result_.dropped += 1;
    report_.notes.push_back(fmt::format("{} was dropped: {}", tensor.name,
                                        tied ? "the head is the embedding's" : "config.json determines it"));
  }

  Status compare_values(const SourceTensor& ours, const SourceTensor& theirs, std::optional<DType> type) {
    const auto here = stored_matrix(model_, ours), there = stored_matrix(source_, theirs);
    if (!here.ok()) return {};  // found wrong before
    if (!there.ok()) return there.error();
    const bool same = theirs.format == ours.format || (ours.grid && ours.grid == theirs.grid);
    const auto rounded = type == DType::f64 ? std::nullopt : type;
    const Difference d = difference(**here, **there, rounded, [&] {
      release(model_, ours);
      release(source_, theirs);
    });
    const double relative = d.relative();
    const std::string found = fmt::format("relative error {:.3g}", relative);
    if (!type) result_.errors.push_back({ours.name, relative});
    if (!d.equal && same)
      wrong(ours, "changed", "the source's values, bit for bit", found);
    else if (!d.equal && type)
      wrong(ours, "changed", fmt::format("the source's values, rounded to {}", name(*type)), found);
    else if (!std::isfinite(relative))
      wrong(ours, "cannot be compared", "a finite relative error", found);
    else if (relative >= error_of_zeros)
      far_.push_back(ours.name);
    return {};
  }

  const ModelSource& model_;
  const ModelSource& source_;
  VerifyReport& report_;
  SourceComparison& result_;
  std::unordered_map<std::string, const SourceTensor*> ours_;
  std::vector<std::string> far_;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> converted_;  // by the types before and after
};

}  // namespace

Status compare_with_source(const ModelSource& model, const ModelSource& source, VerifyReport& report) {
  return Comparison(model, source, report).run();
}

}  // namespace vernier
