// Tables of text that fit the terminal. Pure.
#ifndef TRIBUTARY_CLI_TABLE_H_
#define TRIBUTARY_CLI_TABLE_H_

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tributary::cli {

// Characters of UTF-8 text, which are what a terminal counts (nearly: wide ones count as one here).
size_t WidthOf(absl::string_view text);

// The first `columns` characters at most; "..." where something is missing.
std::string Shorten(absl::string_view text, size_t columns);

struct TableFit {
  // Most characters a line may have; the default cuts nothing.
  size_t columns = std::numeric_limits<size_t>::max();
  // Headings of the columns to leave out while lines are too long, the least important first.
  std::vector<absl::string_view> least_important;
};

// Columns aligned by spaces; the first row is the heading. Whatever a cell says, it is shown as text (common/excerpt.h). What is too long
// then goes on, in the last column, on further lines; lines that are too long for that are shortened. Ends in a newline.
std::string FormatTable(std::vector<std::vector<std::string>> rows, const TableFit& fit = {});

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_TABLE_H_
