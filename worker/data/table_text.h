// The text of a csv file.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_TEXT_H_
#define TRIBUTARY_WORKER_DATA_TABLE_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/data/csv_format.h"
#include "worker/data/text_encoding.h"

namespace tributary::worker {

// kAsItIs: names are compared byte by byte, and values are numbers.
enum class Utf8 { kChecked, kAsItIs };

// Decoded as DecodeText says; `budget` is charged with the file's bytes. DataError with the file: it cannot be read or decoded, or is not
// UTF-8 where that is checked.
absl::StatusOr<DecodedText> ReadTableText(const std::string& path, const CsvFormat& format, Utf8 utf8, uint64_t& budget);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_TEXT_H_
