// libc's iconv knows more, but reads all but UTF-8 and UTF-16 from modules, which neither the container images nor the tarball carry.
#include "worker/data/text_encoding.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

struct Name {
  Encoding encoding;
  absl::string_view name;
};
constexpr Name kNames[] = {
    {Encoding::kUtf8, "utf-8"}, {Encoding::kUtf16, "utf-16"}, {Encoding::kLatin1, "latin-1"}, {Encoding::kWindows1252, "windows-1252"}};

// Of the bytes 0x80 to 0x9f; 0: none. Source: the WHATWG Encoding Standard's index, without the five that it makes control characters.
constexpr std::array<uint16_t, 32> kWindows1252 = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
                                                   0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
                                                   0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

// `code` <= 0x10ffff, and no surrogate.
void AppendUtf8(uint32_t code, std::string& text) {
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
    return;
  }
  const int further = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  constexpr uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
  text.push_back(static_cast<char>(kLead[further] | (code >> (6 * further))));
  for (int i = further - 1; i >= 0; --i) {
    text.push_back(static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f)));
  }
}

enum class Order { kLittle, kBig };

// Where most of the zero bytes are: in Latin text every second one.
Order OrderOf(absl::string_view bytes) {
  size_t even = 0;
  size_t odd = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    (i % 2 == 0 ? even : odd) += bytes[i] == '\0' ? 1 : 0;
  }
  return even > odd ? Order::kBig : Order::kLittle;
}

absl::StatusOr<std::string> FromUtf16(absl::string_view bytes, Order order) {
  if (bytes.size() % 2 != 0) {
    return absl::InvalidArgumentError("UTF-16 of an odd number of bytes: the file is cut; save it again");
  }
  const auto unit = [&](size_t i) {
    const auto first = static_cast<uint8_t>(bytes[i]);
    const auto second = static_cast<uint8_t>(bytes[i + 1]);
    return static_cast<uint32_t>(order == Order::kLittle ? first | (second << 8) : second | (first << 8));
  };
  std::string text;
  text.reserve(bytes.size() / 2);
  for (size_t i = 0; i < bytes.size(); i += 2) {
    uint32_t code = unit(i);
    if (code >= 0xd800 && code < 0xe000) {
      const uint32_t low = code < 0xdc00 && i + 2 < bytes.size() ? unit(i + 2) : 0;
      if (low < 0xdc00 || low >= 0xe000) {
        return absl::InvalidArgumentError(absl::StrCat("byte ", i, ": half a character of UTF-16; save the file again"));
      }
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      i += 2;
    }
    AppendUtf8(code, text);
  }
  return text;
}

absl::StatusOr<std::string> FromBytes(absl::string_view bytes, Encoding encoding) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 8);
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint32_t code = static_cast<uint8_t>(bytes[i]);
    if (encoding == Encoding::kWindows1252 && code >= 0x80 && code < 0xa0) {
      code = kWindows1252[code - 0x80];
      if (code == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("byte ", i, " is not windows-1252, which csv.encoding in worker.yaml says the file is"));
      }
    }
    AppendUtf8(code, text);
  }
  return text;
}

}  // namespace

absl::string_view NameOf(Encoding encoding) {
  for (const Name& name : kNames) {
    if (name.encoding == encoding) {
      return name.name;
    }
  }
  return "";
}

std::optional<Encoding> EncodingNamed(absl::string_view name) {
  for (const Name& known : kNames) {
    if (known.name == name) {
      return known.encoding;
    }
  }
  return std::nullopt;
}

absl::StatusOr<DecodedText> DecodeText(std::string bytes, std::optional<Encoding> stated) {
  DecodedText decoded{.text = {}, .encoding = stated.value_or(Encoding::kUtf8)};
  absl::string_view body = bytes;
  if (absl::StartsWith(bytes, "\xff\xfe") || absl::StartsWith(bytes, "\xfe\xff")) {
    decoded.encoding = Encoding::kUtf16;
    body.remove_prefix(2);
    TRIBUTARY_ASSIGN_OR_RETURN(decoded.text, FromUtf16(body, bytes[0] == '\xff' ? Order::kLittle : Order::kBig));
  } else if (absl::StartsWith(bytes, "\xef\xbb\xbf")) {  // the mark that spreadsheets write
    decoded.encoding = Encoding::kUtf8;
    bytes.erase(0, 3);
    decoded.text = std::move(bytes);
  } else if (decoded.encoding == Encoding::kUtf16) {
    TRIBUTARY_ASSIGN_OR_RETURN(decoded.text, FromUtf16(body, OrderOf(body)));
  } else if (decoded.encoding == Encoding::kUtf8) {
    decoded.text = std::move(bytes);
  } else {
    TRIBUTARY_ASSIGN_OR_RETURN(decoded.text, FromBytes(body, decoded.encoding));
  }
  if (const size_t zero = decoded.text.find('\0'); zero != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("byte ", zero, " is 0, as in UTF-16 (csv: {encoding: utf-16} in worker.yaml reads it)",
                                                   " and in files that are no text: move those out of the data folder"));
  }
  return decoded;
}

}  // namespace tributary::worker
