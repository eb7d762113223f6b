#include "cli/byte_tokenizer.h"

#include <fmt/format.h>

#include "base/json.h"
#include "io/files.h"

namespace vernier {
namespace {

// The printable character that byte-level BPE writes a byte as: itself where it is printable Latin-1, else the next
// free code point from 256 on (GPT-2's table).
std::string byte_character(int byte) {
  const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !printable(b);
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

Json special_token(std::int64_t id, const std::string& text) {
  Json json;
  json["id"] = id;
  json["content"] = text;
  json["single_word"] = false;
  json["lstrip"] = false;
  json["rstrip"] = false;
  json["normalized"] = false;
  json["special"] = true;
  return json;
}

constexpr const char* layout = R"({
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
  "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {}, "merges": []}
})";

}  // namespace

Status write_byte_tokenizer(const std::string& folder, std::int64_t vocab, std::int64_t max_positions) {
  VN_ASSIGN(Json json, parse_json(layout, "byte tokenizer"));
  Json& pieces = json["model"]["vocab"];
  const char* specials[] = {"<unk>", "<s>", "</s>"};
  std::int64_t id = 0;
  for (const char* special : specials) {
    json["added_tokens"].push_back(special_token(id, special));
    pieces[special] = id++;
  }
  for (int byte = 0; byte < 256; ++byte) pieces[byte_character(byte)] = id++;
  for (; id < vocab; ++id) pieces[fmt::format("<filler_{}>", id)] = id;
  VN_TRY(write_file_atomic(folder + "/tokenizer.json", dump_json(json, 1) + "\n"));

  Json config;
  config["add_bos_token"] = true;
  config["add_eos_token"] = false;
  config["bos_token"] = "<s>";
  config["eos_token"] = "</s>";
  config["unk_token"] = "<unk>";
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = max_positions;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return write_file_atomic(folder + "/tokenizer_config.json", dump_json(config) + "\n");
}

}  // namespace vernier
