#include "io/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "io/tokenizer/regex.h"
#include "io/tokenizer/utf8.h"

namespace vernier {
namespace {

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(int options) : options_(options) {}
  std::string apply(std::string text) const override {
    const bool ascii =
        std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii) return text;
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &mapped, static_cast<utf8proc_option_t>(options_ | UTF8PROC_STABLE));
    if (size >= 0) text.assign(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
    std::free(mapped);
    return text;
  }

 private:
  int options_;
};

class Lowercase : public Normalizer {
 public:
  std::string apply(std::string text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
      const char32_t c = code_point(utf8_character(text, at));
      if (c == 0x130) {  // the one capital whose full lower case is two characters
        out += "i\xCC\x87";
      } else {
        append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
      }
    }
    return out;
  }
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string apply(std::string text) const override { return text.empty() ? text : prefix_ + text; }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::string apply(std::string text) const override { return pattern_.replace(text, content_); }

 private:
  Regex pattern_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  std::string apply(std::string text) const override {
    if (right_) text.resize(without_trailing_space_bytes(text));
    if (left_) text.erase(0, leading_space_bytes(text));
    return text;
  }

 private:
  bool left_, right_;
};

template <class T, class... Args>
std::unique_ptr<Normalizer> make(Args&&... args) {
  return std::make_unique<T>(std::forward<Args>(args)...);
}

Result<std::unique_ptr<Normalizer>> make_normalizer(const Component& component) {
  VN_ASSIGN(const std::string type, component.type());
  if (type == "NFC") return make<UnicodeForm>(UTF8PROC_COMPOSE);
  if (type == "NFD") return make<UnicodeForm>(UTF8PROC_DECOMPOSE);
  if (type == "NFKC") return make<UnicodeForm>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  if (type == "NFKD") return make<UnicodeForm>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  if (type == "Lowercase") return make<Lowercase>();
  if (type == "Prepend") {
    VN_ASSIGN(std::string prefix, component.text("prepend"));
    return make<Prepend>(std::move(prefix));
  }
  if (type == "Replace") {
    VN_ASSIGN(Regex pattern, Regex::from_json(component, "pattern"));
    VN_ASSIGN(std::string content, component.text("content"));
    return make<Replace>(std::move(pattern), std::move(content));
  }
  if (type == "Strip") {
    VN_ASSIGN(const bool left, component.flag("strip_left", true));
    VN_ASSIGN(const bool right, component.flag("strip_right", true));
    return make<Strip>(left, right);
  }
  return component.unsupported(fmt::format("normalizer \"{}\"", type));
}

}  // namespace

Result<std::vector<std::unique_ptr<Normalizer>>> make_normalizers(const JsonTree& json, const std::string& where) {
  VN_ASSIGN(const std::vector<Component> components, flatten_sequence(json, "normalizers", where));
  std::vector<std::unique_ptr<Normalizer>> out;
  for (const Component& component : components) {
    VN_ASSIGN(auto normalizer, make_normalizer(component));
    out.push_back(std::move(normalizer));
  }
  return out;
}

std::string normalize(const std::vector<std::unique_ptr<Normalizer>>& normalizers, std::string text) {
  for (const auto& normalizer : normalizers) text = normalizer->apply(std::move(text));
  return text;
}

}  // namespace vernier
