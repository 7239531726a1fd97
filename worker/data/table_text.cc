#include "worker/data/table_text.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/data/folder.h"
#include "worker/data/utf8.h"

namespace tributary::worker {

absl::StatusOr<DecodedText> ReadTableText(const std::string& path, const CsvFormat& format, Utf8 utf8, uint64_t& budget) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, ReadDataBytes(path, budget));
  absl::StatusOr<DecodedText> decoded = DecodeText(std::move(bytes), format.encoding);
  if (!decoded.ok()) {
    return DataError(absl::StrCat(path, ": ", decoded.status().message()));
  }
  if (utf8 == Utf8::kChecked) {
    if (const size_t valid = ValidUtf8Prefix(decoded->text); valid < decoded->text.size()) {
      return DataError(absl::StrCat(path, ": byte ", valid, " is not UTF-8: say what the file is with csv: {encoding: windows-1252} in ",
                                    "worker.yaml (or latin-1, utf-16), or save it as UTF-8"));
    }
  }
  return decoded;
}

}  // namespace tributary::worker
