// Whether a model on disk is whole: every tensor there, every stored number one that its format allows, the tokenizer
// and the configuration in agreement with the weights; and whether it holds all of the model it was made from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arch/source.h"

namespace vernier {

struct VerifyOptions {
  std::string model;
  std::string source;  // the model it was made from, to be compared with; empty: none
  std::string origin;  // the same, of which only the tokenizer is looked at: what was wrong there stays a note
  std::int64_t memory_bytes = 0;  // budget; 0: what is mapped at a time stays below 64 MiB
};

struct Problem {
  std::string tensor;  // or "tokenizer"; empty: the model as a whole
  std::string what, wanted, found;
};

// What became of the tensors of VerifyOptions::source.
struct SourceComparison {
  struct Error {
    std::string tensor;
    double relative = 0;  // ||W - Wq|| / ||W||
  };
  std::int64_t quantized = 0, copied = 0, converted = 0, dropped = 0;  // converted: to another float type
  bool transformed = false;                                            // by its recipe: values are not compared
  std::vector<Error> errors;                                           // of quantized tensors
};

struct VerifyReport {
  std::string model, container, architecture;  // the latter two empty where the model cannot be opened
  std::int64_t tensors = 0, quantized = 0, stored_bytes = 0;
  std::vector<Problem> problems;
  std::vector<std::string> notes;
  std::optional<SourceComparison> comparison;
  double seconds = 0;

  bool sound() const { return problems.empty(); }
  // "OUT: 63 tensors, 42 quantized, nothing wrong", "OUT: 2 of 63 tensors wrong".
  std::string verdict() const;
};

// Streams tensor by tensor; the first number of a tensor that is wrong stands for all of them. A model that cannot be
// opened is a report with one problem. Errors: an interrupt, a source that cannot be opened.
Result<VerifyReport> verify(const VerifyOptions& options);

// The tensor as a matrix, a vector as one row.
Result<std::shared_ptr<const WeightMatrix>> stored_matrix(const ModelSource& source, const SourceTensor& tensor);
// The element type of a tensor that is not quantized.
std::optional<DType> plain_type(const SourceTensor& tensor);
// The first of many names.
std::string listed(const std::vector<std::string>& names);
// Gives back the mapped pages of one tensor.
void release(const ModelSource& source, const SourceTensor& tensor);

}  // namespace vernier
