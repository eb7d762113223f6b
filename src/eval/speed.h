// How fast a model runs, and how that compares with what the machine can do, measured in the same process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/source.h"
#include "base/json.h"
#include "runtime/executor.h"
#include "runtime/kv_cache.h"

namespace vernier {

struct SpeedOptions {
  std::int64_t prompt = 256, generate = 64;  // tokens of a sequence
  std::int64_t depth = 0;                    // tokens already in the cache when decoding begins; 0: the prompt
  int batch = 1;                             // sequences that decode together; the prompt is one sequence's
  int repetitions = 5;
  KvType kv = KvType::f16;
  ExecutorOptions executor;
};

// A median of the repetitions, and (slowest to fastest) / median.
struct Rate {
  double median = 0, spread = 0;
};

struct SpeedResult {
  std::string isa;
  Rate prefill_tokens_per_s, decode_tokens_per_s;  // decode: of all sequences together
  double machine_read_gb_per_s = 0;                // a plain read loop
  double decode_read_gb_per_s = 0;                 // weights alone, once for each step
  double int8_gemm_gops = 0;      // oneDNN u8 x s8 on the shapes of the blocks, weighted by their work; 0: it has none
  double prefill_gops = 0;        // the whole model, its head for one row
  double prefill_gemm_gops = 0;   // the linears of its blocks, alone
  std::int64_t weight_bytes = 0;  // read for a step
  double kv_bytes_per_token = 0;
  std::int64_t peak_resident_bytes = 0;
};
Json to_json(const SpeedResult& result);

double median(std::vector<double> values);  // not empty

// Random tokens, seeded. Errors: nothing to time, a context beyond the model's.
Result<SpeedResult> measure_speed(const ModelSource& source, const SpeedOptions& options);

}  // namespace vernier
