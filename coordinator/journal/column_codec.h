// How C++ values stand in columns: as the integers, reals, texts and blobs of SQLite. Frozen with the journal's format.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_COLUMN_CODEC_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_COLUMN_CODEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "google/protobuf/message_lite.h"
#include "optim/layout.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// Nothing (NULL), an integer, a real, or the bytes of a text or blob. A view is of the C++ value that was encoded, or of the row that a
// query stands on; it must not outlive either.
using Value = std::variant<std::monostate, int64_t, double, absl::string_view, std::string>;

// Of a text or blob; empty for all else.
absl::string_view BytesOf(const Value& value);

// Each Decode is the inverse of the Encode for its type. False: no such value has these bytes.

// Integers keep all 64 bits; a uint64_t above 2^63 reads as negative in SQL.
Value Encode(int64_t value);
Value Encode(uint64_t value);
Value Encode(double value);
bool Decode(const Value& stored, int64_t& value);
bool Decode(const Value& stored, uint64_t& value);
bool Decode(const Value& stored, double& value);
// Absent: NULL, for which SQLite chooses a primary key.
Value Encode(const std::optional<int64_t>& value);
bool Decode(const Value& stored, std::optional<int64_t>& value);

// By its number.
Value Encode(v1::RunState state);
bool Decode(const Value& stored, v1::RunState& state);

Value Encode(const std::string& bytes);
bool Decode(const Value& stored, std::string& bytes);
// 32 bytes.
Value Encode(const Digest& digest);
bool Decode(const Value& stored, Digest& digest);
// Serialised.
Value Encode(const google::protobuf::MessageLite& message);
bool Decode(const Value& stored, google::protobuf::MessageLite& message);
// A RunStatus with only `sites` set, serialised.
Value Encode(const std::vector<v1::SiteStatus>& sites);
bool Decode(const Value& stored, std::vector<v1::SiteStatus>& sites);
// A RoundRecord with only `metrics` set, by name, serialised.
Value Encode(const std::map<std::string, double>& metrics);
bool Decode(const Value& stored, std::map<std::string, double>& metrics);
// Nanoseconds, 8 bytes little-endian each.
Value Encode(const std::vector<absl::Duration>& durations);
bool Decode(const Value& stored, std::vector<absl::Duration>& durations);

// Site names, one a line.
Value Encode(const std::vector<std::string>& sites);
bool Decode(const Value& stored, std::vector<std::string>& sites);
// InvalidArgument: an empty name, or one with a line break (names are DNS labels, so there is none). Before Encode.
absl::Status CheckSiteNames(const std::vector<std::string>& sites);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_COLUMN_CODEC_H_
