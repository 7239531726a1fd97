#include "cli/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"

namespace tributary::cli {
namespace {

constexpr size_t kGap = 2;
// A last column narrower than this is shortened, not continued.
constexpr size_t kLeastWrapped = 12;

bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
}

// Where the character after the first `characters` of `text` begins; its length if it has no more.
size_t OffsetOf(absl::string_view text, size_t characters) {
  size_t seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (BeginsCharacter(text[i]) && seen++ == characters) {
      return i;
    }
  }
  return text.size();
}

std::vector<size_t> WidthsOf(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], WidthOf(row[i]));
    }
  }
  return widths;
}

// Characters up to the last column.
size_t IndentOf(const std::vector<size_t>& widths) {
  size_t indent = 0;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    indent += widths[i] + kGap;
  }
  return indent;
}

size_t LengthOf(const std::vector<size_t>& widths) {
  return widths.empty() ? 0 : IndentOf(widths) + widths.back();
}

void LeaveOut(absl::string_view heading, std::vector<std::vector<std::string>>* rows) {
  const auto& head = rows->front();
  const auto column = std::find(head.begin(), head.end(), heading) - head.begin();
  for (auto& row : *rows) {
    if (column < static_cast<std::ptrdiff_t>(row.size())) {
      row.erase(row.begin() + column);
    }
  }
}

// `text` in pieces of at most `columns` characters, parted at spaces where there are any.
std::vector<std::string> Wrap(absl::string_view text, size_t columns) {
  std::vector<std::string> pieces;
  while (WidthOf(text) > columns) {
    const size_t most = OffsetOf(text, columns);
    const size_t space = text.rfind(' ', most);
    const size_t end = space == absl::string_view::npos || space == 0 ? most : space;
    pieces.emplace_back(text.substr(0, end));
    text = absl::StripLeadingAsciiWhitespace(text.substr(end));
  }
  pieces.emplace_back(text);
  return pieces;
}

}  // namespace

size_t WidthOf(absl::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCharacter));
}

std::string Shorten(absl::string_view text, size_t columns) {
  if (WidthOf(text) <= columns) {
    return std::string(text);
  }
  return absl::StrCat(text.substr(0, OffsetOf(text, columns - std::min<size_t>(columns, 3))), "...");
}

std::string FormatTable(std::vector<std::vector<std::string>> rows, const TableFit& fit) {
  for (std::vector<std::string>& row : rows) {
    for (std::string& cell : row) {
      cell = Escaped(cell);
    }
  }
  std::vector<size_t> widths = WidthsOf(rows);
  for (const absl::string_view heading : fit.least_important) {
    if (LengthOf(widths) <= fit.columns) {
      break;
    }
    LeaveOut(heading, &rows);
    widths = WidthsOf(rows);
  }
  const size_t indent = IndentOf(widths);
  const bool wraps = fit.columns >= kLeastWrapped && indent <= fit.columns - kLeastWrapped;
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    std::vector<std::string> pieces = {""};
    for (size_t i = 0; i < row.size(); ++i) {
      if (i + 1 == widths.size() && wraps) {
        pieces = Wrap(row[i], fit.columns - indent);
        absl::StrAppend(&line, pieces[0]);
      } else {
        absl::StrAppend(&line, row[i], std::string(widths[i] - WidthOf(row[i]) + kGap, ' '));
      }
    }
    absl::StrAppend(&text, Shorten(absl::StripTrailingAsciiWhitespace(line), fit.columns), "\n");
    for (size_t i = 1; i < pieces.size(); ++i) {
      absl::StrAppend(&text, std::string(indent, ' '), pieces[i], "\n");
    }
  }
  return text;
}

}  // namespace tributary::cli
