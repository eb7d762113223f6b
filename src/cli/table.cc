#include "cli/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace vernier {
namespace {

constexpr std::size_t gap = 2;
constexpr std::size_t narrowest = 12;  // a shrinking column keeps this much

// Characters of UTF-8 text: bytes that do not continue one.
std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string fit(const std::string& text, std::size_t width, Table::Align align) {
  const std::size_t length = characters(text);
  if (length <= width) {
    const std::string space(width - length, ' ');
    return align == Table::Align::left ? text + space : space + text;
  }
  // Text with multi-byte characters is left whole: a cut could fall inside one.
  if (length != text.size() || width < 5) return text;
  const std::size_t kept = width - 3, head = kept / 2;
  return text.substr(0, head) + "..." + text.substr(text.size() - (kept - head));
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text(int width) const {
  std::vector<std::size_t> widths;
  std::size_t total = 0;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t most = characters(columns_[c].title);
    for (const auto& row : rows_) most = std::max(most, characters(row[c]));
    widths.push_back(most);
    total += most + (c ? gap : 0);
  }
  for (std::size_t c = 0; c < columns_.size() && width > 0 && total > static_cast<std::size_t>(width); ++c) {
    if (!columns_[c].shrinks || widths[c] <= narrowest) continue;
    const std::size_t cut = std::min(total - static_cast<std::size_t>(width), widths[c] - narrowest);
    widths[c] -= cut;
    total -= cut;
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      if (c) text.append(gap, ' ');
      text += fit(cells[c], widths[c], columns_[c].align);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  };
  std::vector<std::string> titles, rules;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    titles.push_back(columns_[c].title);
    rules.emplace_back(widths[c], '-');
  }
  line(titles);
  line(rules);
  for (const auto& row : rows_) line(row);
  return out;
}

int terminal_width() {
  winsize size{};
  if (!::isatty(STDOUT_FILENO) || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

void print_table(const Table& table) { std::fputs(table.text(terminal_width()).c_str(), stdout); }

}  // namespace vernier
