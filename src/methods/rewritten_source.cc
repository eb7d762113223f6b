#include "methods/rewritten_source.h"

#include <algorithm>
#include <cassert>
#include <unordered_set>

#include "arch/architecture.h"
#include "base/fail.h"
#include "base/threads.h"

namespace vernier {
namespace {

constexpr std::int64_t kRowsPerPiece = 16;

// Columns scaled and turned, rows scaled: all that can be done a row at a time.
class RowwiseMatrix final : public WeightMatrix {
 public:
  RowwiseMatrix(std::shared_ptr<const WeightMatrix> base, TensorRewrite rewrite)
      : base_(std::move(base)), rewrite_(std::move(rewrite)) {}
  std::int64_t rows() const override { return base_->rows(); }
  std::int64_t cols() const override { return base_->cols(); }
  std::int64_t stored_bytes() const override { return base_->stored_bytes(); }
  std::string format_text() const override { return "f32"; }

  void decode_rows(std::int64_t first, std::int64_t count, float* out) const override {
    base_->decode_rows(first, count, out);
    const std::int64_t cols = base_->cols(), slice = rewrite_.right ? rewrite_.right->size() : cols;
    std::vector<double> x(cols);
    for (std::int64_t r = 0; r < count; ++r) {
      float* const row = out + r * cols;
      std::copy_n(row, cols, x.begin());
      if (!rewrite_.column_scale.empty())
        for (std::int64_t c = 0; c < cols; ++c) x[c] *= rewrite_.column_scale[c];
      if (rewrite_.right)
        for (std::int64_t at = 0; at < cols; at += slice) rewrite_.right->apply(std::span(x).subspan(at, slice));
      const double factor = rewrite_.row_scale.empty() ? 1 : rewrite_.row_scale[first + r];
      for (std::int64_t c = 0; c < cols; ++c) row[c] = static_cast<float>(x[c] * factor);
    }
  }

 private:
  std::shared_ptr<const WeightMatrix> base_;
  TensorRewrite rewrite_;
};

// The whole matrix in f32: rows turned as well.
Tensor materialized(const WeightMatrix& matrix, const TensorRewrite& rewrite) {
  Tensor w(DType::f32, {matrix.rows(), matrix.cols()});
  const Matrix<float> values = w.matrix();
  parallel_ranges(values.rows, kRowsPerPiece, [&](std::int64_t first, std::int64_t last) {
    matrix.decode_rows(first, last - first, values.row(first));
  });
  if (rewrite.left) rotate_rows(values, *rewrite.left);
  return w;
}

class RewrittenSource final : public ModelSource {
 public:
  static Result<std::unique_ptr<ModelSource>> make(std::shared_ptr<const ModelSource> model, TensorRewrites rewrites,
                                                   bool untie) {
    const ModelSource& base = *model;
    std::unique_ptr<RewrittenSource> source(new RewrittenSource(std::move(model)));
    source->path_ = base.path();
    source->container_ = base.container();
    source->config_ = base.config();
    source->graph_ = base.graph();
    source->tensors_ = base.tensors();
    if (untie) VN_TRY(source->untie_head(rewrites));
    source->rewrites_ = std::move(rewrites);
    // Tensors outside the blocks are large and read a few rows at a time; those of a block are read again and again.
    for (const Graph& block : source->graph_.blocks)
      for (const TensorRef& tensor : block.tensors) source->in_blocks_.insert(tensor.name);
    for (SourceTensor& tensor : source->tensors_) {
      if (tensor.grid)
        return with_hint(fail(ErrorCode::unsupported, "{}: tensor {} is quantized ({}) and cannot be rewritten",
                              base.path(), tensor.name, tensor.format),
                         "rewrite the float checkpoint it was made from");
      if (source->rewrites_.contains(tensor.name)) tensor.format = "f32";
    }
    return std::unique_ptr<ModelSource>(std::move(source));
  }

  const std::vector<SourceTensor>& tensors() const override { return tensors_; }

  Result<std::shared_ptr<const WeightMatrix>> matrix(const std::string& name) const override {
    const auto found = rewrites_.find(name);
    if (found == rewrites_.end()) return base_->matrix(name);
    const TensorRewrite& rewrite = found->second;
    VN_ASSIGN(const auto base, base_->matrix(rewrite.from.empty() ? name : rewrite.from));
    const bool columns_fit =
        (rewrite.column_scale.empty() || static_cast<std::int64_t>(rewrite.column_scale.size()) == base->cols()) &&
        (!rewrite.right || base->cols() % rewrite.right->size() == 0);
    const bool rows_fit =
        (rewrite.row_scale.empty() || static_cast<std::int64_t>(rewrite.row_scale.size()) == base->rows()) &&
        (!rewrite.left || base->rows() % rewrite.left->size() == 0);
    if (!columns_fit || !rows_fit)
      return fail(ErrorCode::mismatch, "{}: tensor {} [{}, {}] does not fit its rewrite", path_, name, base->rows(),
                  base->cols());
    if (!rewrite.left) {
      auto rowwise = std::make_shared<RowwiseMatrix>(base, rewrite);
      if (!in_blocks_.contains(name)) return std::shared_ptr<const WeightMatrix>(std::move(rowwise));
      return dense_matrix(materialized(*rowwise, {}));
    }
    TensorRewrite columns = rewrite;
    columns.row_scale.clear();
    Tensor turned = materialized(RowwiseMatrix(base, std::move(columns)), rewrite);
    if (!rewrite.row_scale.empty()) {
      const Matrix<float> w = turned.matrix();
      for (std::int64_t r = 0; r < w.rows; ++r)
        for (std::int64_t c = 0; c < w.cols; ++c) w(r, c) = static_cast<float>(w(r, c) * rewrite.row_scale[r]);
    }
    return dense_matrix(std::move(turned));
  }

  Result<Tensor> vector(const std::string& name) const override {
    const auto found = rewrites_.find(name);
    if (found == rewrites_.end()) return base_->vector(name);
    const TensorRewrite& rewrite = found->second;
    VN_ASSIGN(Tensor vector, base_->vector(rewrite.from.empty() ? name : rewrite.from));
    const std::span<float> values = vector.as<float>();
    if (rewrite.constant) {
      std::fill(values.begin(), values.end(), *rewrite.constant);
      return vector;
    }
    const std::size_t slice = rewrite.right ? static_cast<std::size_t>(rewrite.right->size()) : values.size();
    if ((!rewrite.column_scale.empty() && rewrite.column_scale.size() != values.size()) || values.size() % slice != 0)
      return fail(ErrorCode::mismatch, "{}: tensor {} [{}] does not fit its rewrite", path_, name, values.size());
    std::vector<double> x(values.begin(), values.end());
    for (std::size_t i = 0; i < rewrite.column_scale.size(); ++i) x[i] *= rewrite.column_scale[i];
    if (rewrite.right)
      for (std::size_t at = 0; at < x.size(); at += slice) rewrite.right->apply(std::span(x).subspan(at, slice));
    for (std::size_t i = 0; i < x.size(); ++i) values[i] = static_cast<float>(x[i]);
    return vector;
  }

  std::optional<ActivationSpec> activation(const std::string&) const override { return std::nullopt; }
  void release(const Graph& graph) const override { base_->release(graph); }

 private:
  explicit RewrittenSource(std::shared_ptr<const ModelSource> base) : base_(std::move(base)) {}

  Status untie_head(TensorRewrites& rewrites) {
    if (!graph_.tied_head) return {};
    const Op& head = graph_.head.ops.back();
    const std::string tied = graph_.head.tensors[head.weight].name, own = own_head_weight(graph_);
    config_["tie_word_embeddings"] = false;
    VN_ASSIGN(graph_, build_model_graph(config_, path_ + "/config.json"));
    const auto embedding =
        std::find_if(tensors_.begin(), tensors_.end(), [&](const SourceTensor& t) { return t.name == tied; });
    assert(embedding != tensors_.end());
    SourceTensor copy = *embedding;
    copy.name = own;
    std::erase_if(tensors_, [&](const SourceTensor& t) { return t.name == own; });  // a copy that tied models may carry
    tensors_.push_back(std::move(copy));
    rewrites[own].from = tied;
    return {};
  }

  std::shared_ptr<const ModelSource> base_;
  TensorRewrites rewrites_;
  std::vector<SourceTensor> tensors_;
  std::unordered_set<std::string> in_blocks_;
};

}  // namespace

Result<std::unique_ptr<ModelSource>> rewritten_source(std::shared_ptr<const ModelSource> base, TensorRewrites rewrites,
                                                      bool untie) {
  return RewrittenSource::make(std::move(base), std::move(rewrites), untie);
}

std::string own_head_weight(const ModelGraph& model) { return model.head.ops.back().name + ".weight"; }

}  // namespace vernier
