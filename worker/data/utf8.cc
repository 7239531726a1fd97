#include "worker/data/utf8.h"

#include <cstdint>

namespace tributary::worker {
namespace {

constexpr absl::string_view kReplacement = "\xef\xbf\xbd";

// Length of the character at the start of `text`, 0 if there is none. Table 3-7 of the Unicode standard.
size_t CharacterLength(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  size_t length;
  uint8_t low = 0x80, high = 0xbf;  // range of the second byte
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) {
      low = 0xa0;
    }
    if (first == 0xed) {
      high = 0x9f;
    }
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) {
      low = 0x90;
    }
    if (first == 0xf4) {
      high = 0x8f;
    }
  } else {
    return 0;
  }
  if (text.size() < length || byte(1) < low || byte(1) > high) {
    return 0;
  }
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  return length;
}

// C0 but newline and tab, DEL, and C1 (U+0080..U+009F).
bool IsControl(absl::string_view character) {
  const uint8_t first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) {
    return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f;
  }
  return first == 0xc2 && static_cast<uint8_t>(character[1]) < 0xa0;
}

}  // namespace

size_t ValidUtf8Prefix(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = CharacterLength(text.substr(at));
    if (length == 0) {
      break;
    }
    at += length;
  }
  return at;
}

std::string PrintableUtf8(absl::string_view text) {
  std::string printable;
  printable.reserve(text.size());
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    const absl::string_view character = text.substr(0, length == 0 ? 1 : length);
    const bool shown = length != 0 && !IsControl(character);
    printable.append(shown ? character.data() : kReplacement.data(), shown ? character.size() : kReplacement.size());
    text.remove_prefix(character.size());
  }
  return printable;
}

}  // namespace tributary::worker
