#include "pipeline/calibration.h"

#include <algorithm>

#include "base/fail.h"
#include "base/hash.h"
#include "base/random.h"
#include "pipeline/calibration_self.h"
#include "pipeline/calibration_text.h"

namespace vernier {
namespace {

Status check_options(const Recipe::Calibration& options) {
  constexpr std::int64_t most_tokens = std::int64_t{1} << 31;
  if (options.samples < 1)
    return fail(ErrorCode::invalid, "calibration.samples is {}, wanted at least 1", options.samples);
  if (options.ctx < 2) return fail(ErrorCode::invalid, "calibration.ctx is {}, wanted at least 2", options.ctx);
  if (options.samples > most_tokens / options.ctx)
    return fail(ErrorCode::invalid, "{} x {} calibration tokens are beyond the limit of {}", options.samples,
                options.ctx, most_tokens);
  return {};
}

std::vector<TokenId> random_ids(std::int64_t vocab, std::optional<TokenId> bos, const Recipe::Calibration& options) {
  const Random random(options.seed);
  std::vector<TokenId> ids(options.samples * options.ctx);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(random.below(i, vocab));
  if (bos) {
    for (std::int64_t s = 0; s < options.samples; ++s) ids[s * options.ctx] = *bos;
  }
  return ids;
}

std::string fingerprint(const CalibrationSet& set) {
  Fingerprint print;
  print.add(static_cast<std::uint64_t>(set.samples)).add(static_cast<std::uint64_t>(set.ctx));
  print.add(std::as_bytes(std::span(set.ids)));
  return print.hex();
}

}  // namespace

Result<CalibrationSet> load_calibration(const ModelSource& source, const std::string& from,
                                        const Recipe::Calibration& options, std::int64_t memory_bytes) {
  VN_TRY(check_options(options));
  auto tokenizer = open_tokenizer(source.path());
  // Random ids need no tokenizer; a folder without one is still usable with them.
  if (!tokenizer.ok() && from != "random") return std::move(tokenizer).take_error();
  const std::optional<TokenId> bos = tokenizer.ok() ? (*tokenizer)->bos : std::nullopt;

  CalibrationSet set;
  set.samples = options.samples;
  set.ctx = options.ctx;
  std::string name = from;
  if (from == "random") {
    set.ids = random_ids(source.graph().vocab, bos, options);
    name = "random ids";
  } else if (from == "self") {
    VN_ASSIGN(set.ids, sample_from_model(source, bos, options, memory_bytes));
    name = "text sampled from the model";
  } else {
    VN_ASSIGN(const std::vector<TokenId> stream, calibration_stream(from, **tokenizer, source.path()));
    VN_ASSIGN(set.ids, cut_samples(stream, bos, options, from));
    name = from.substr(from.find_last_of('/') + 1);
  }
  const auto largest = *std::max_element(set.ids.begin(), set.ids.end());
  if (largest >= source.graph().vocab) {
    return fail(ErrorCode::mismatch, "the tokenizer gives id {}, the vocabulary of {} has {} entries", largest,
                source.path(), source.graph().vocab);
  }
  set.description = fmt::format("{} x {} of {}, seed {}", set.samples, set.ctx, name, options.seed);
  set.fingerprint = fingerprint(set);
  return set;
}

}  // namespace vernier
