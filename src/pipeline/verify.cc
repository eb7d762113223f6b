#include "pipeline/verify.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <unordered_set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/threads.h"
#include "containers/container.h"
#include "formats/soundness.h"
#include "kernels/panel/soundness.h"
#include "pipeline/verify_source.h"
#include "vernier/tokenizer.h"

namespace vernier {
namespace {

constexpr std::int64_t piece_bytes = std::int64_t{256} << 10;  // looked at by one worker
constexpr std::int64_t window_bytes = std::int64_t{64} << 20, least_window_bytes = std::int64_t{4} << 20;  // mapped
constexpr std::size_t listed_names = 4;

std::optional<Unsound> unsound_rows(const WeightMatrix& matrix, std::int64_t first, std::int64_t count,
                                    const AllowedCodes& allowed) {
  if (const auto* panels = dynamic_cast<const kernels::PanelMatrix*>(&matrix))
    return kernels::unsound_panels(*panels, first, count, allowed);
  return find_unsound(matrix, first, count, allowed);
}

// The first row's finding, whatever the number of threads. `window`: bytes between two calls of `done`.
template <class Done>
std::optional<Unsound> unsound_matrix(const WeightMatrix& matrix, const AllowedCodes& allowed, std::int64_t window,
                                      const Done& done) {
  const std::int64_t row_bytes =
      std::max<std::int64_t>(1, matrix.stored_bytes() / std::max<std::int64_t>(1, matrix.rows()));
  const std::int64_t piece = std::max<std::int64_t>(1, piece_bytes / row_bytes);
  const std::int64_t at_once = std::max(piece, window / row_bytes);
  for (std::int64_t first = 0; first < matrix.rows(); first += at_once) {
    const std::int64_t rows = std::min(at_once, matrix.rows() - first), pieces = (rows + piece - 1) / piece;
    std::vector<std::optional<Unsound>> found(pieces);
    parallel_for(pieces, [&](std::int64_t i) {
      found[i] = unsound_rows(matrix, first + i * piece, std::min(piece, rows - i * piece), allowed);
    });
    done(rows * row_bytes);
    const auto bad = std::find_if(found.begin(), found.end(), [](const auto& one) { return one.has_value(); });
    if (bad != found.end()) return std::move(*bad);
  }
  return std::nullopt;
}

class Verification {
 public:
  Verification(const ModelSource& source, std::int64_t window, VerifyReport& report)
      : source_(source), window_(window), report_(report), progress_("verify", bytes_of(source)) {}

  Status run() {
    std::unordered_set<std::string> read;
    for (const Graph* graph : source_.graph().graphs())
      for (const TensorRef& tensor : graph->tensors) read.insert(tensor.name);
    std::vector<std::string> unread, unchecked;
    for (const SourceTensor& tensor : source_.tensors()) {
      VN_TRY(check_interrupt());
      const std::optional<DType> plain = plain_type(tensor);
      report_.tensors += 1;
      report_.quantized += plain ? 0 : 1;
      report_.stored_bytes += tensor.stored_bytes;
      if (!read.contains(tensor.name)) unread.push_back(tensor.name);
      if (plain && !is_float(*plain)) {
        unchecked.push_back(tensor.name);
        continue;
      }
      check(tensor);
    }
    if (!unread.empty())
      report_.notes.push_back(fmt::format("kept, though a {} model does not read {}: {}", report_.architecture,
                                          unread.size() == 1 ? "it" : "them", listed(unread)));
    if (!unchecked.empty()) report_.notes.push_back("integers, not looked at: " + listed(unchecked));
    return {};
  }

 private:
  static double bytes_of(const ModelSource& source) {
    double bytes = 0;
    for (const SourceTensor& tensor : source.tensors()) bytes += static_cast<double>(tensor.stored_bytes);
    return bytes;
  }

  void check(const SourceTensor& tensor) {
    const auto matrix = stored_matrix(source_, tensor);
    if (!matrix.ok()) {
      report_.problems.push_back({tensor.name, "unreadable", "a tensor that opens", matrix.error().text()});
      return release(source_, tensor);
    }
    if (auto bad = unsound_matrix(**matrix, allowed_codes(tensor), window_, [&](std::int64_t bytes) {
          release(source_, tensor);
          progress_.advance(static_cast<double>(bytes), tensor.name);
        }))
      report_.problems.push_back({tensor.name, std::move(bad->what), std::move(bad->wanted), std::move(bad->found)});
  }

  const AllowedCodes& allowed_codes(const SourceTensor& tensor) {
    if (!tensor.grid) return allowed_[""];
    const auto [known, added] = allowed_.try_emplace(tensor.grid->text());
    if (added)
      if (const auto grid = make_grid(*tensor.grid); grid.ok()) known->second = AllowedCodes(**grid);
    return known->second;
  }

  const ModelSource& source_;
  const std::int64_t window_;
  VerifyReport& report_;
  std::map<std::string, AllowedCodes> allowed_;  // by grid
  Progress progress_;
};

// What is wrong with the tokenizer beside a model of `rows` embedding rows.
std::optional<Problem> check_tokenizer(const std::string& model, std::int64_t rows) {
  const auto tokenizer = open_tokenizer(model);
  if (!tokenizer.ok()) {
    const bool missing = tokenizer.error().code == ErrorCode::not_found;
    return Problem{"tokenizer", missing ? "missing" : "unreadable", "a tokenizer that opens", tokenizer.error().text()};
  }
  if ((*tokenizer)->vocab_size() <= rows) return std::nullopt;
  return Problem{"tokenizer", "more tokens than the embedding has rows", fmt::format("at most {}", rows),
                 fmt::format("{}", (*tokenizer)->vocab_size())};
}

// Stored floats of a model whose architecture nobody described: which tensors it wants is not known.
Status verify_checkpoint(const Checkpoint& checkpoint, std::int64_t window, VerifyReport& report) {
  double bytes = 0;
  for (const Checkpoint::Entry& entry : checkpoint.entries()) bytes += static_cast<double>(entry.tensor.bytes());
  Progress progress("verify", bytes);
  for (const Checkpoint::Entry& entry : checkpoint.entries()) {
    VN_TRY(check_interrupt());
    const std::string& name = entry.tensor.name;
    report.tensors += 1;
    report.stored_bytes += entry.tensor.bytes();
    if (!is_float(entry.tensor.dtype)) continue;
    VN_ASSIGN(const TensorView view, checkpoint.view(name));
    if (auto bad = unsound_matrix(*dense_matrix(view, nullptr), {}, window, [&](std::int64_t done) {
          checkpoint.release(name);
          progress.advance(static_cast<double>(done), name);
        }))
      report.problems.push_back({name, std::move(bad->what), std::move(bad->wanted), std::move(bad->found)});
  }
  report.notes.push_back("no architecture here describes this model: only its stored floats were looked at");
  return {};
}

Status look(const VerifyOptions& options, VerifyReport& report) {
  const std::int64_t window =
      options.memory_bytes > 0 ? std::clamp(options.memory_bytes / 8, least_window_bytes, window_bytes) : window_bytes;
  auto model = open_model(options.model);
  if (!model.ok()) {
    const Error error = std::move(model).take_error();
    if (const auto checkpoint = Checkpoint::open(options.model); checkpoint.ok() && options.source.empty()) {
      const Json& config = (*checkpoint)->config();
      if (error.code == ErrorCode::unsupported && !find_architecture(config, options.model).ok())
        return verify_checkpoint(**checkpoint, window, report);
    }
    report.problems.push_back({"", error.message, error.hint, ""});
    return {};
  }
  report.container = (*model)->container();
  report.architecture = (*model)->graph().architecture;
  VN_TRY(Verification(**model, window, report).run());
  const std::int64_t rows = (*model)->graph().vocab;
  if (auto problem = check_tokenizer(options.model, rows)) {
    if (!options.origin.empty() && check_tokenizer(options.origin, rows))
      report.notes.push_back(fmt::format("tokenizer: {}, as in {}", problem->what, options.origin));
    else
      report.problems.push_back(std::move(*problem));
  }
  if (options.source.empty()) return {};
  VN_ASSIGN(const auto source, open_model(options.source));
  return compare_with_source(**model, *source, report);
}

}  // namespace

std::string VerifyReport::verdict() const {
  std::unordered_set<std::string> wrong;
  bool tokenizer = false;
  for (const Problem& problem : problems) {
    if (problem.tensor.empty()) return fmt::format("{}: cannot be opened: {}", model, problem.what);
    if (problem.tensor == "tokenizer")
      tokenizer = true;
    else
      wrong.insert(problem.tensor);
  }
  if (wrong.empty())
    return fmt::format("{}: {} tensors, {} quantized, {} wrong", model, tensors, quantized,
                       tokenizer ? "tokenizer" : "nothing");
  return fmt::format("{}: {} of {} tensors{} wrong", model, wrong.size(), tensors, tokenizer ? " and tokenizer" : "");
}

Result<VerifyReport> verify(const VerifyOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  VerifyReport report;
  report.model = options.model;
  VN_TRY(look(options, report));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

Result<std::shared_ptr<const WeightMatrix>> stored_matrix(const ModelSource& source, const SourceTensor& tensor) {
  if (tensor.shape.rank() == 2) return source.matrix(tensor.name);
  VN_ASSIGN(Tensor vector, source.vector(tensor.name));
  return dense_matrix(std::move(vector));
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), listed_names); ++i) text += (i ? ", " : "") + names[i];
  return names.size() > listed_names ? text + fmt::format(" and {} more", names.size() - listed_names) : text;
}

std::optional<DType> plain_type(const SourceTensor& tensor) {
  if (tensor.grid) return std::nullopt;
  std::string name = tensor.format;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return dtype_from_name(name);
}

void release(const ModelSource& source, const SourceTensor& tensor) {
  Graph one;
  one.tensors.push_back({tensor.name, tensor.shape});
  source.release(one);
}

}  // namespace vernier
