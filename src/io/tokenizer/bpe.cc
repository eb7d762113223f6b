#include "io/tokenizer/bpe.h"

#include <algorithm>

#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

// Ids may leave holes (added tokens fill them), but not so many that the table outgrows the file.
constexpr std::int64_t max_id_holes = 1 << 20;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

Result<Bpe> Bpe::parse(const Component& model) {
  if (!model.is_object()) return fail(ErrorCode::invalid, "{}: expected an object", model.where());
  VN_ASSIGN(const std::string type, model.text("type", "BPE"));
  if (type != "BPE") return model.unsupported(fmt::format("model \"{}\"", type));
  Bpe bpe;
  VN_TRY(bpe.read_vocab(model));
  VN_TRY(bpe.read_options(model));
  VN_TRY(bpe.read_merges(model));
  bpe.find_word_starts();
  return bpe;
}

Status Bpe::read_vocab(const Component& model) {
  const JsonTree* vocab = model.find("vocab");
  if (!vocab || !vocab->is_object()) return model.wrong("vocab", "an object of ids");
  const auto id_end = static_cast<std::int64_t>(vocab->size()) + max_id_holes;
  ids_.reserve(vocab->size());
  for (const auto& [piece, id] : vocab->items()) {
    if (!id.is_number_integer() || id < 0 || id >= id_end) {
      return fail(ErrorCode::invalid, "{}: vocab: \"{}\" should have an id from 0 to {}, found {}", model.where(),
                  piece, id_end - 1, id.is_number() ? id.dump() : id.type_name());
    }
    const auto index = id.get<std::size_t>();
    if (index >= pieces_.size()) pieces_.resize(index + 1);
    pieces_[index] = piece;
    ids_.emplace(piece, static_cast<TokenId>(index));
  }
  for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = id_of(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return {};
}

Status Bpe::read_options(const Component& model) {
  if (const JsonTree* dropout = model.find("dropout"); dropout && *dropout != 0.0) {
    return model.unsupported("dropout");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    VN_ASSIGN(const std::string affix, model.text(key, ""));
    if (!affix.empty()) return model.unsupported(fmt::format("{} \"{}\"", key, affix));
  }
  VN_ASSIGN(fuse_unk_, model.flag("fuse_unk", false));
  VN_ASSIGN(byte_fallback_, model.flag("byte_fallback", false));
  VN_ASSIGN(ignore_merges_, model.flag("ignore_merges", false));
  if (model.find("unk_token")) {
    VN_ASSIGN(const std::string unk, model.text("unk_token"));
    unk_ = id_of(unk);
    if (!unk_) return fail(ErrorCode::invalid, "{}: unk_token \"{}\" is not in the vocabulary", model.where(), unk);
  }
  return {};
}

Status Bpe::read_merges(const Component& model) {
  const JsonTree* merges = model.find("merges");
  if (!merges || !merges->is_array()) return model.wrong("merges", "a list");
  merges_.reserve(merges->size());
  for (std::size_t rank = 0; rank < merges->size(); ++rank) {
    const JsonTree& merge = (*merges)[rank];
    std::string left, right;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        return fail(ErrorCode::invalid, "{}: merge {} should be two pieces with a space between, found \"{}\"",
                    model.where(), rank, text);
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      return fail(ErrorCode::invalid, "{}: merge {} should be two pieces", model.where(), rank);
    }
    const auto left_id = id_of(left), right_id = id_of(right), id = id_of(left + right);
    if (!left_id || !right_id || !id) {
      return fail(ErrorCode::invalid, "{}: merge {} of \"{}\" and \"{}\": \"{}\" is not in the vocabulary",
                  model.where(), rank, left, right,
                  !left_id    ? left
                  : !right_id ? right
                              : left + right);
    }
    merges_[pair_key(*left_id, *right_id)] = {static_cast<std::int32_t>(rank), *id};
  }
  return {};
}

void Bpe::find_word_starts() {
  if (ignore_merges_ || !id_of(metaspace)) return;
  cut_at_metaspace_ = std::all_of(pieces_.begin(), pieces_.end(), spaces_lead);
}

std::optional<TokenId> Bpe::id_of(std::string_view piece) const {
  const auto it = ids_.find(piece);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* Bpe::piece(TokenId id) const {
  return id >= 0 && id < id_end() && !pieces_[id].empty() ? &pieces_[id] : nullptr;
}

const Bpe::Merge* Bpe::merge_of(TokenId left, TokenId right) const {
  const auto it = merges_.find(pair_key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (const auto id = id_of(word)) return out.push_back(*id);
  }
  while (cut_at_metaspace_ && !word.empty()) {
    std::size_t end = 0;
    while (word.substr(end).starts_with(metaspace)) end += metaspace.size();
    end = std::min(word.find(metaspace, end), word.size());
    merge_word(word.substr(0, end), out);
    word.remove_prefix(end);
  }
  merge_word(word, out);
}

// One symbol per character; a character outside the vocabulary becomes its bytes, else the unknown token.
std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const auto add = [&](TokenId id) {
    const auto at = static_cast<std::int64_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  };
  bool unknown = false;  // an unknown token not added yet
  for (std::size_t at = 0; at < word.size(); at += utf8_length(word[at])) {
    const std::string_view character = utf8_character(word, at);
    if (const auto id = id_of(character)) {
      if (unknown) add(*unk_);
      unknown = false;
      add(*id);
      continue;
    }
    const auto has_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)] >= 0; };
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), has_id)) {
      for (const char byte : character) add(byte_ids_[static_cast<unsigned char>(byte)]);
    } else if (unk_) {
      if (unknown && !fuse_unk_) add(*unk_);
      unknown = true;
    }
  }
  if (unknown) add(*unk_);
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

void Bpe::merge_word(std::string_view word, std::vector<TokenId>& out) const {
  std::vector<Symbol> symbols = symbols_of(word);
  std::vector<Candidate> heap;
  const auto consider = [&](std::int64_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    if (const Merge* merge = merge_of(symbols[left].id, symbols[symbols[left].next].id)) {
      heap.push_back({merge->rank, left, merge->id});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int64_t>(i));
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // The pair may have changed since it was found.
    const Merge* merge = merge_of(left.id, right.id);
    if (!merge || merge->id != best.id) continue;
    left.id = merge->id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) out.push_back(symbol.id);
  }
}

}  // namespace vernier
