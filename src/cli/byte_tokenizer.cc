#include "cli/byte_tokenizer.h"

#include <fmt/format.h>

#include "base/json.h"
#include "io/files.h"
#include "io/tokenizer/byte_alphabet.h"

namespace vernier {
namespace {

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
            "vocab": null, "merges": []}
})";

}  // namespace

Status write_byte_tokenizer(const std::string& folder, std::int64_t vocab, std::int64_t max_positions) {
  VN_ASSIGN(Json json, parse_json(layout, "byte tokenizer"));
  // The vocabulary is joined as text: an insertion-ordered object looks every key up by walking.
  std::string pieces;
  std::int64_t id = 0;
  const auto add = [&](const std::string& piece) {
    pieces += fmt::format("{}{}: {}", id ? ", " : "{", Json(piece).dump(), id);
    ++id;
  };
  for (const char* special : {"<unk>", "<s>", "</s>"}) {
    json["added_tokens"].push_back(special_token(id, special));
    add(special);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    add(bytes_to_alphabet({&text, 1}));
  }
  while (id < vocab) add(fmt::format("<filler_{}>", id));
  std::string text = dump_json(json);
  const std::string_view slot = "\"vocab\": null";
  text.replace(text.find(slot), slot.size(), "\"vocab\": " + pieces + "}");
  VN_TRY(write_file_atomic(folder + "/tokenizer.json", text + "\n"));

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
