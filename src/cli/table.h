// Aligned columns in plain text, the one way commands draw tables.
#pragma once

#include <string>
#include <vector>

namespace vernier {

class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
    bool shrinks = false;  // cells are cut in the middle ("model.la...weight") where the table is too wide
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);  // missing cells are empty
  // Lines of at most `width` characters as far as shrinking columns allow; 0: no limit.
  std::string text(int width = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

int terminal_width();  // of stdout; 0 when it is not a terminal
void print_table(const Table& table);

}  // namespace vernier
