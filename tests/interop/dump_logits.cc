// dump_logits MODEL IDS.json: logits of a model folder of any container. IDS.json is an array of sequences, each an
// array of token ids; the output is {"logits": [[[one number per token of the vocabulary] per position] per sequence]}
// with 9 significant digits.
#include <cstdio>
#include <string>
#include <vector>

#include "base/fail.h"
#include "base/json.h"
#include "containers/container.h"
#include "io/files.h"
#include "runtime/generate.h"

namespace vernier {
namespace {

Result<std::vector<TokenId>> sequence_of(const Json& json, std::int64_t vocab, const std::string& where) {
  std::vector<TokenId> ids;
  if (!json.is_array() || json.empty()) return fail(ErrorCode::invalid, "{}: wanted an array of ids", where);
  for (const Json& id : json) {
    if (!id.is_number_integer() || id < 0 || id >= vocab)
      return fail(ErrorCode::invalid, "{}: id {} is outside the vocabulary of {}", where, dump_json(id, -1), vocab);
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

void print(const Buffer& logits) {
  std::printf("[");
  for (std::int64_t r = 0; r < logits.rows; ++r) {
    std::printf("%s[", r ? ",\n" : "");
    for (std::int64_t c = 0; c < logits.cols; ++c) std::printf(c ? ",%.9g" : "%.9g", logits.matrix()(r, c));
    std::printf("]");
  }
  std::printf("]");
}

Status dump(const std::string& model, const std::string& ids_file) {
  VN_ASSIGN(const std::string text, read_text_file(ids_file));
  VN_ASSIGN(const Json sequences, parse_json(text, ids_file));
  if (!sequences.is_array()) return fail(ErrorCode::invalid, "{}: wanted an array of sequences", ids_file);
  VN_ASSIGN(const auto source, open_model(model));
  VN_ASSIGN(const auto forward, Forward::open(*source, false));
  std::printf("{\"logits\": [");
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    VN_ASSIGN(const std::vector<TokenId> ids, sequence_of(sequences[i], source->graph().vocab, ids_file));
    Batch batch = Batch::uniform(1, static_cast<std::int64_t>(ids.size()));
    batch.ids = ids;
    VN_ASSIGN(const Buffer hidden, forward->hidden(batch));
    VN_ASSIGN(const Buffer logits, forward->logits(hidden));
    if (i) std::printf(",\n");
    print(logits);
  }
  std::printf("]}\n");
  return {};
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: dump_logits MODEL IDS.json\n");
    return 2;
  }
  if (const vernier::Status status = vernier::dump(argv[1], argv[2]); !status.ok()) {
    std::fprintf(stderr, "dump_logits: %s\n", status.error().text().c_str());
    return 1;
  }
  return 0;
}
