// Bytes of a file as UTF-8, whatever a site's programs have written.
#ifndef TRIBUTARY_WORKER_DATA_TEXT_ENCODING_H_
#define TRIBUTARY_WORKER_DATA_TEXT_ENCODING_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary::worker {

enum class Encoding { kUtf8, kUtf16, kLatin1, kWindows1252 };

// "utf-8", "utf-16", "latin-1", "windows-1252": as worker.yaml writes it.
absl::string_view NameOf(Encoding encoding);
// The other way; nothing: no such name.
std::optional<Encoding> EncodingNamed(absl::string_view name);

struct DecodedText {
  std::string text;  // without its byte order mark
  Encoding encoding = Encoding::kUtf8;
};

// A byte order mark says what the file is; without one it is `stated`, or else UTF-8. UTF-16 without a mark is little-endian unless its
// zero bytes say otherwise. What is UTF-8 comes back as it is, valid or not. InvalidArgument, without the file's name: UTF-16 that is cut
// or has half a character, a byte that windows-1252 does not have, or a byte 0, as in UTF-16 and in files that are no text.
absl::StatusOr<DecodedText> DecodeText(std::string bytes, std::optional<Encoding> stated);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TEXT_ENCODING_H_
