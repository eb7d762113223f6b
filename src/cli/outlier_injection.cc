#include "cli/outlier_injection.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "arch/edges.h"
#include "base/fail.h"
#include "base/random.h"
#include "base/threads.h"
#include "cli/model_writer.h"
#include "containers/container.h"
#include "io/files.h"
#include "methods/edge_choice.h"
#include "methods/rotate/model.h"
#include "pipeline/calibration.h"
#include "tensor/convert.h"

namespace vernier {
namespace {

constexpr std::int64_t kSamples = 8, kCtx = 128;  // tokens looked at
constexpr std::int64_t kWriteElements = 4 << 20;  // at a time
constexpr std::int64_t kDecodeRows = 16;          // of one worker at a time

// The first `count` of a seeded shuffle of [0, n), rising.
std::vector<std::int64_t> choose_channels(std::int64_t n, std::int64_t count, const Random& random) {
  std::vector<std::int64_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  count = std::min(count, n);
  for (std::int64_t i = 0; i < count; ++i)
    std::swap(all[i], all[i + static_cast<std::int64_t>(random.below(i, n - i))]);
  all.resize(count);
  std::sort(all.begin(), all.end());
  return all;
}

// Channels of the hidden state and of each edge's own values.
class ChannelChoice {
 public:
  ChannelChoice(const OutlierOptions& options) : random_(options.seed), count_(options.channels) {}
  std::vector<std::int64_t> hidden(std::int64_t width) const {
    return choose_channels(width, count_, Random(random_.bits(0)));
  }
  std::vector<std::int64_t> of(const ScaleEdge& edge) const {
    if (edge.kind == ScaleEdge::Kind::norm) return hidden(edge.channels);
    return choose_channels(edge.channels, count_, Random(random_.bits(name_hash(edge.name))));
  }

 private:
  Random random_;
  std::int64_t count_;
};

void multiply(std::vector<double>& scale, std::span<const float> factor) {
  if (scale.empty()) scale.assign(factor.size(), 1.0);
  for (std::size_t i = 0; i < factor.size(); ++i) scale[i] *= factor[i];
}

// The producer's chosen channels times `strength`, the consumers' columns that read them divided by it.
Status move_along(const Graph& graph, const ScaleEdge& edge, std::span<const std::int64_t> channels, float strength,
                  TensorRewrites& rewrites) {
  const Op& producer = graph.ops[edge.producer];
  if (producer.unit_offset != 0)
    return fail(ErrorCode::unsupported, "{}: outliers in norms with a weight of {} + w", producer.name,
                producer.unit_offset);
  std::vector<float> up(edge.channels, 1.0f), down(edge.channels, 1.0f);
  for (const std::int64_t c : channels) {
    up[c] = strength;
    down[c] = 1 / strength;
  }
  TensorRewrite& weight = rewrites[graph.tensors[producer.weight].name];
  multiply(producer.kind == OpKind::linear ? weight.row_scale : weight.column_scale, up);
  if (producer.bias >= 0) multiply(rewrites[graph.tensors[producer.bias].name].column_scale, up);
  for (const int consumer : edge.consumers)
    multiply(rewrites[graph.tensors[graph.ops[consumer].weight].name].column_scale, factor_of_columns(edge, down));
  return {};
}

Result<std::unique_ptr<ModelSource>> with_outliers(std::shared_ptr<const ModelSource> base,
                                                   const OutlierOptions& options, float strength, std::int64_t& edges) {
  VN_ASSIGN(const auto kinds, edge_kinds(options.edges));
  const ChannelChoice choice(options);
  TensorRewrites rewrites;
  for (const Graph* graph : base->graph().graphs())
    for (const ScaleEdge& edge : edges_of_kinds(*graph, kinds)) {
      VN_TRY(move_along(*graph, edge, choice.of(edge), strength, rewrites));
      ++edges;
    }
  return rewritten_source(std::move(base), std::move(rewrites), false);
}

Result<std::unique_ptr<ModelSource>> with_principal_channels(std::shared_ptr<const ModelSource> model,
                                                             const OutlierOptions& options, const Sequences& sequences,
                                                             bool& untied) {
  const ModelSource& base = *model;
  VN_ASSIGN(const ResidualStream stream, ResidualStream::find(base.graph()));
  if (stream.layer_norm)
    return with_hint(
        fail(ErrorCode::unsupported,
             "{}: --rotate makes principal directions single channels; a LayerNorm, which subtracts the mean over "
             "channels, does not survive that",
             base.path()),
        "leave --rotate out, or take a model with RMSNorm");
  const std::int64_t width = base.graph().hidden;
  const auto channels = ChannelChoice(options).hidden(width);
  VN_ASSIGN(const auto directions, principal_directions(base, sequences, static_cast<std::int64_t>(channels.size())));
  TensorRewrites rewrites;
  VN_TRY(rotate_residual(base, stream, direction_rotation(width, directions, channels), rewrites));
  untied = stream.tied_head;
  return rewritten_source(std::move(model), std::move(rewrites), stream.tied_head);
}

// Tensors of the graph in its order, in the type they are written in. Every tensor of the source has a place.
Result<std::vector<TensorEntry>> entries_of(const ModelSource& source, const Checkpoint& original,
                                            const std::string& dtype) {
  std::vector<TensorEntry> entries;
  std::set<std::string> seen;
  for (const Graph* graph : source.graph().graphs())
    for (const TensorRef& tensor : graph->tensors) {
      if (!seen.insert(tensor.name).second) continue;
      const Checkpoint::Entry* stored = original.find(tensor.name);
      const DType own = stored ? stored->tensor.dtype : original.entries()[0].tensor.dtype;
      entries.push_back({tensor.name, dtype == "bf16" ? DType::bf16 : dtype == "f32" ? DType::f32 : own, tensor.shape});
    }
  for (const Checkpoint::Entry& entry : original.entries()) {
    const std::string& name = entry.tensor.name;
    if (seen.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
    if (source.graph().tied_head && name == own_head_weight(source.graph())) continue;
    return fail(ErrorCode::unsupported, "{}: a {} model has no place for {}", source.path(),
                source.graph().architecture, name);
  }
  return entries;
}

Status write_tensor(const ModelSource& source, const TensorEntry& entry, SafetensorsWriter& writer) {
  std::vector<std::byte> bytes;
  if (entry.shape.rank() != 2) {
    VN_ASSIGN(const Tensor values, source.vector(entry.name));
    bytes.resize(entry.bytes());
    from_float(values.as<float>(), entry.dtype, bytes);
    return writer.write(entry.name, bytes);
  }
  VN_ASSIGN(const auto matrix, source.matrix(entry.name));
  const std::int64_t cols = matrix->cols(), width = size_bytes(entry.dtype);
  const std::int64_t at_once = std::max<std::int64_t>(1, kWriteElements / cols);
  std::vector<float> values;
  for (std::int64_t first = 0; first < matrix->rows(); first += at_once) {
    const std::int64_t rows = std::min(at_once, matrix->rows() - first);
    values.resize(rows * cols);
    bytes.resize(rows * cols * width);
    parallel_ranges(rows, kDecodeRows, [&](std::int64_t begin, std::int64_t end) {
      matrix->decode_rows(first + begin, end - begin, values.data() + begin * cols);
      from_float(std::span(values).subspan(begin * cols, (end - begin) * cols), entry.dtype,
                 std::span(bytes).subspan(begin * cols * width, (end - begin) * cols * width));
    });
    VN_TRY(writer.write_part(entry.name, first * cols * width, bytes));
  }
  return {};
}

Status write_source(const ModelSource& source, const Checkpoint& original, const std::string& folder,
                    const OutlierOptions& options, const std::string& dtype) {
  VN_ASSIGN(const auto entries, entries_of(source, original, dtype));
  Json config = source.config();
  if (dtype == "f32") {
    for (const char* key : {"torch_dtype", "dtype"})
      if (config.contains(key)) config[key] = "float32";
  }
  VN_TRY(write_model(folder, config, entries, options.max_shard_bytes,
                     [&](const TensorEntry& entry, SafetensorsWriter& writer) -> Status {
                       VN_TRY(write_tensor(source, entry, writer));
                       for (const Graph* graph : source.graph().graphs())
                         for (const TensorRef& tensor : graph->tensors)
                           if (tensor.name == entry.name) source.release(*graph);
                       return {};
                     }));
  for (const std::string& file : companion_files(original.folder()))
    VN_TRY(copy_file_atomic(original.folder() + "/" + file, folder + "/" + file));
  return {};
}

// What every tensor is written as: powers of two leave bf16 and f32 exact, f16 may run out of exponent, and a rotation
// needs all of f32.
std::string written_dtype(const OutlierOptions& options, const Checkpoint& original) {
  if (options.dtype != "auto") return options.dtype;
  const bool exact = std::all_of(original.entries().begin(), original.entries().end(), [](const auto& entry) {
    return entry.tensor.dtype == DType::bf16 || entry.tensor.dtype == DType::f32;
  });
  return options.rotate || !exact ? "f32" : "auto";
}

}  // namespace

Result<OutlierReport> inject_outliers(const std::string& from, const std::string& folder,
                                      const OutlierOptions& options) {
  if (!(options.strength >= 1 && options.strength <= 65536))
    return fail(ErrorCode::invalid, "--strength {}: wanted 1 to 65536", options.strength);
  VN_ASSIGN(const auto original, Checkpoint::open(from));
  VN_ASSIGN(const std::shared_ptr<const ModelSource> base, open_model(from));
  if (base->container() != "safetensors")
    return with_hint(fail(ErrorCode::unsupported, "{} is quantized ({})", from, base->container()),
                     "inject outliers into the float checkpoint, then quantize");
  Recipe::Calibration calibration;
  calibration.samples = kSamples;
  calibration.ctx = base->graph().max_positions > 0 ? std::min(kCtx, base->graph().max_positions) : kCtx;
  calibration.seed = options.seed;
  VN_ASSIGN(CalibrationSet set, load_calibration(*base, options.calib, calibration));
  const Sequences sequences{set.samples, set.ctx, std::move(set.ids)};

  OutlierReport report;
  report.strength = std::exp2(std::round(std::log2(options.strength)));
  report.dtype = written_dtype(options, *original);
  std::shared_ptr<const ModelSource> turned = base;
  if (options.rotate) {
    VN_ASSIGN(turned, with_principal_channels(base, options, sequences, report.untied));
  }
  VN_ASSIGN(const auto made, with_outliers(turned, options, static_cast<float>(report.strength), report.edges));
  VN_ASSIGN(report.before, survey_outliers(*base, sequences));
  VN_ASSIGN(report.after, survey_outliers(*made, sequences));
  VN_TRY(write_source(*made, *original, folder, options, report.dtype));
  return report;
}

}  // namespace vernier
