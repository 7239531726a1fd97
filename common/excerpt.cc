#include "common/excerpt.h"

#include <cstdint>
#include <optional>

#include "absl/strings/str_format.h"

namespace tributary {
namespace {

// The first character of a text, which is not empty.
struct Character {
  std::optional<uint32_t> code;  // absent: its first byte is not UTF-8
  absl::string_view bytes;
};

// RFC 3629: no overlong forms, no surrogates, at most U+10FFFF.
Character First(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const Character invalid = {std::nullopt, text.substr(0, 1)};
  if (byte(0) < 0x80) {
    return {byte(0), text.substr(0, 1)};
  }
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) {
    return invalid;
  }
  uint32_t code = byte(0) & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return invalid;
    }
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool is_one = code >= kLeast[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return is_one ? Character{code, text.substr(0, length)} : invalid;
}

bool IsFit(uint32_t code) {
  const auto between = [code](uint32_t first, uint32_t last) { return code >= first && code <= last; };
  return !(code < 0x20 || between(0x7f, 0x9f) || code == 0x61c || between(0x200e, 0x200f) || between(0x2028, 0x202e) ||
           between(0x2066, 0x2069));
}

}  // namespace

std::string Excerpt(absl::string_view text) {
  constexpr size_t kMaxBytes = 500;
  std::string line;
  while (!text.empty()) {
    const Character character = First(text);
    text.remove_prefix(character.bytes.size());
    const absl::string_view shown = !character.code.has_value() ? "?" : IsFit(*character.code) ? character.bytes : " ";
    if (line.size() + shown.size() > kMaxBytes) {
      break;
    }
    line.append(shown.data(), shown.size());
  }
  return line;
}

std::string Escaped(absl::string_view text, LineBreaks breaks) {
  std::string escaped;
  escaped.reserve(text.size());
  while (!text.empty()) {
    const Character character = First(text);
    text.remove_prefix(character.bytes.size());
    if (!character.code.has_value()) {
      absl::StrAppendFormat(&escaped, "\\x%02x", static_cast<unsigned char>(character.bytes[0]));
    } else if (IsFit(*character.code) || (*character.code == '\n' && breaks == LineBreaks::kKeep)) {
      escaped.append(character.bytes.data(), character.bytes.size());
    } else if (*character.code == '\n') {
      escaped.append("\\n");
    } else if (*character.code < 0x80) {
      absl::StrAppendFormat(&escaped, "\\x%02x", *character.code);
    } else {
      absl::StrAppendFormat(&escaped, "\\u%04x", *character.code);
    }
  }
  return escaped;
}

}  // namespace tributary
