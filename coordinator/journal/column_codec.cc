#include "coordinator/journal/column_codec.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/bytes.h"

namespace tributary::coordinator {
namespace {

int64_t IntegerOf(const Value& stored) {
  const int64_t* const integer = std::get_if<int64_t>(&stored);
  return integer == nullptr ? 0 : *integer;
}

}  // namespace

absl::string_view BytesOf(const Value& value) {
  if (const std::string* const owned = std::get_if<std::string>(&value)) {
    return *owned;
  }
  const absl::string_view* const view = std::get_if<absl::string_view>(&value);
  return view == nullptr ? absl::string_view() : *view;
}

Value Encode(int64_t value) {
  return value;
}

Value Encode(uint64_t value) {
  return static_cast<int64_t>(value);
}

Value Encode(double value) {
  return value;
}

bool Decode(const Value& stored, int64_t& value) {
  value = IntegerOf(stored);
  return true;
}

bool Decode(const Value& stored, uint64_t& value) {
  value = static_cast<uint64_t>(IntegerOf(stored));
  return true;
}

bool Decode(const Value& stored, double& value) {
  const double* const real = std::get_if<double>(&stored);
  value = real == nullptr ? 0 : *real;
  return real != nullptr;
}

Value Encode(const std::optional<int64_t>& value) {
  return value.has_value() ? Value(*value) : Value();
}

bool Decode(const Value& stored, std::optional<int64_t>& value) {
  value = IntegerOf(stored);
  return true;
}

Value Encode(v1::RunState state) {
  return static_cast<int64_t>(state);
}

bool Decode(const Value& stored, v1::RunState& state) {
  const int64_t number = IntegerOf(stored);
  state = static_cast<v1::RunState>(number);
  return static_cast<int64_t>(state) == number && v1::RunState_IsValid(state);
}

Value Encode(const std::string& bytes) {
  return absl::string_view(bytes);
}

bool Decode(const Value& stored, std::string& bytes) {
  bytes = std::string(BytesOf(stored));
  return true;
}

Value Encode(const Digest& digest) {
  return AsBytes(digest);
}

bool Decode(const Value& stored, Digest& digest) {
  return ToDigest(BytesOf(stored), digest);
}

Value Encode(const google::protobuf::MessageLite& message) {
  return message.SerializeAsString();
}

bool Decode(const Value& stored, google::protobuf::MessageLite& message) {
  const absl::string_view bytes = BytesOf(stored);
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

Value Encode(const std::vector<v1::SiteStatus>& sites) {
  v1::RunStatus holder;
  holder.mutable_sites()->Assign(sites.begin(), sites.end());
  return holder.SerializeAsString();
}

bool Decode(const Value& stored, std::vector<v1::SiteStatus>& sites) {
  v1::RunStatus holder;
  if (!Decode(stored, holder)) {
    return false;
  }
  sites.assign(holder.sites().begin(), holder.sites().end());
  return true;
}

Value Encode(const std::map<std::string, double>& metrics) {
  v1::RoundRecord holder;
  for (const auto& [name, value] : metrics) {
    v1::Metric& metric = *holder.add_metrics();
    metric.set_name(name);
    metric.set_value(value);
  }
  return holder.SerializeAsString();
}

bool Decode(const Value& stored, std::map<std::string, double>& metrics) {
  v1::RoundRecord holder;
  if (!Decode(stored, holder)) {
    return false;
  }
  metrics.clear();
  for (const v1::Metric& metric : holder.metrics()) {
    metrics[metric.name()] = metric.value();
  }
  return true;
}

Value Encode(const std::vector<absl::Duration>& durations) {
  std::string bytes;
  for (const absl::Duration duration : durations) {
    AppendLittleEndian(static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration)), bytes);
  }
  return bytes;
}

bool Decode(const Value& stored, std::vector<absl::Duration>& durations) {
  durations.clear();
  ByteReader reader(BytesOf(stored));
  for (uint64_t nanoseconds = 0; reader.Read(nanoseconds);) {
    durations.push_back(absl::Nanoseconds(static_cast<int64_t>(nanoseconds)));
  }
  return reader.rest().empty();
}

Value Encode(const std::vector<std::string>& sites) {
  std::string lines;
  for (const std::string& site : sites) {
    absl::StrAppend(&lines, site, "\n");
  }
  return lines;
}

bool Decode(const Value& stored, std::vector<std::string>& sites) {
  sites.clear();
  if (BytesOf(stored).empty()) {
    return true;
  }
  sites = absl::StrSplit(BytesOf(stored), '\n');
  // After the last line break there is nothing, and no name is empty.
  const bool ended = sites.back().empty();
  sites.pop_back();
  return ended && CheckSiteNames(sites).ok();
}

absl::Status CheckSiteNames(const std::vector<std::string>& sites) {
  for (const std::string& site : sites) {
    if (site.empty() || absl::StrContains(site, '\n')) {
      return absl::InvalidArgumentError(absl::StrCat("'", site, "' is not the name of a site"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
