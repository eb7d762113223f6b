// The part of calibration that works on text: documents to one token stream, and the stream to samples.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vernier/recipe.h"
#include "vernier/tokenizer.h"

namespace vernier {

// Token ids of a text or JSONL file. `model_folder` has the chat template that "messages" go through.
Result<std::vector<TokenId>> calibration_stream(const std::string& path, const Tokenizer& tokenizer,
                                                const std::string& model_folder);

// samples x ctx ids from `stream`, as load_calibration documents. `where` names the text in errors.
Result<std::vector<TokenId>> cut_samples(const std::vector<TokenId>& stream, std::optional<TokenId> bos,
                                         const Recipe::Calibration& options, const std::string& where);

}  // namespace vernier
