#include "proto/config/rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "google/protobuf/duration.pb.h"
#include "proto/durations.h"

namespace tributary {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

// The largest unit that divides `bytes`: "3MiB".
std::string FormatBytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (unit < 4 && bytes >= 1024 && std::fmod(bytes, 1024) == 0) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.15g%s", bytes, kUnits[unit]);
}

std::string FormatNumber(double value, const FieldDescriptor& field) {
  if (IsDuration(field)) {
    return absl::FormatDuration(absl::Seconds(value));
  }
  switch (RuleOf(field).unit()) {
    case v1::UNIT_BYTES:
      return FormatBytes(value);
    case v1::UNIT_BITS_PER_SECOND:
      return absl::StrFormat("%.15gbit/s", value);
    default:
      return absl::StrFormat("%.15g", value);
  }
}

// The value as a number (durations in seconds), or nothing for other types.
std::optional<double> NumberOf(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool single = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return single ? reflection.GetUInt32(message, &field) : reflection.GetRepeatedUInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return single ? reflection.GetUInt64(message, &field) : reflection.GetRepeatedUInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT32:
      return single ? reflection.GetInt32(message, &field) : reflection.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return single ? reflection.GetInt64(message, &field) : reflection.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return single ? reflection.GetFloat(message, &field) : reflection.GetRepeatedFloat(message, &field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return single ? reflection.GetDouble(message, &field) : reflection.GetRepeatedDouble(message, &field, index);
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      if (!IsDuration(field)) {
        return std::nullopt;
      }
      const Message& value = single ? reflection.GetMessage(message, &field) : reflection.GetRepeatedMessage(message, &field, index);
      google::protobuf::Duration duration;
      duration.CopyFrom(value);
      return absl::ToDoubleSeconds(DurationOf(duration));
    }
    default:
      return std::nullopt;
  }
}

// The bounds of a value: of a list they count its elements and are checked by ProblemOfList.
std::string ProblemOfNumber(double value, const FieldDescriptor& field) {
  if (!std::isfinite(value)) {
    return absl::StrCat(value, " is not a finite number");
  }
  const v1::FieldRule& rule = RuleOf(field);
  if (field.is_repeated()) {
    return "";
  }
  if (value == 0 && !rule.zero_word().empty()) {
    return "";
  }
  if (rule.has_min() && value < rule.min()) {
    return absl::StrCat(FormatNumber(value, field), " is less than ", FormatNumber(rule.min(), field));
  }
  if (rule.has_max() && value > rule.max()) {
    return absl::StrCat(FormatNumber(value, field), " is more than ", FormatNumber(rule.max(), field));
  }
  return "";
}

std::string ProblemOfString(const std::string& value, const v1::FieldRule& rule) {
  if (value.empty()) {
    return rule.required() ? "is empty" : "";
  }
  if (std::any_of(value.begin(), value.end(), [](char c) { return absl::ascii_iscntrl(c); })) {
    return "contains a control character";
  }
  if (rule.name() && !IsName(value)) {
    return absl::StrCat("'", value, "' is not a name: use 1 to 63 characters of a-z, 0-9 and inner hyphens");
  }
  return "";
}

// Of a field as it may come from the network, where absence and zero are the same for most types.
bool IsUnset(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  return field.is_repeated() ? reflection.FieldSize(message, &field) == 0 : !reflection.HasField(message, &field);
}

std::string Join(absl::string_view path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

absl::Status Check(const Message& message, const std::string& path);

absl::Status CheckField(const Message& message, const FieldDescriptor& field, const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  const v1::FieldRule& rule = RuleOf(field);
  const auto error = [&](absl::string_view where, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", problem));
  };

  if (field.is_repeated()) {
    if (const std::string problem = ProblemOfList(message, field); !problem.empty()) {
      return error(path, problem);
    }
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      const std::string element = absl::StrCat(path, "[", i, "]");
      if (const std::string problem = ProblemOfValue(message, field, i); !problem.empty()) {
        return error(element, problem);
      }
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field)) {
        TRIBUTARY_RETURN_IF_ERROR(Check(reflection.GetRepeatedMessage(message, &field, i), element));
      }
    }
    return absl::OkStatus();
  }

  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && IsUnset(message, field)) {
    const bool filled_by_defaults = IsDuration(field)
                                        ? !rule.default_value().empty()
                                        : field.real_containing_oneof() == nullptr && !HasRequiredField(*field.message_type());
    return rule.required() || filled_by_defaults ? error(path, "is missing") : absl::OkStatus();
  }
  if (field.has_presence() && IsUnset(message, field)) {
    return rule.required() ? error(path, "is missing") : absl::OkStatus();
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && rule.required() && reflection.GetEnumValue(message, &field) == 0) {
    return error(path, "is missing");
  }
  if (const std::string problem = ProblemOfValue(message, field, -1); !problem.empty()) {
    return error(path, problem);
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field)) {
    return Check(reflection.GetMessage(message, &field), path);
  }
  return absl::OkStatus();
}

absl::Status Check(const Message& message, const std::string& path) {
  const Descriptor& type = *message.GetDescriptor();
  if (const auto& unknown = message.GetReflection()->GetUnknownFields(message); !unknown.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path.empty() ? type.name() : path, ": has field ", unknown.field(0).number(),
                                                   ", which this release (", TRIBUTARY_VERSION, ") does not know; upgrade it"));
  }
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const OneofDescriptor& oneof = *type.oneof_decl(i);
    if (message.GetReflection()->HasOneof(message, &oneof)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(path, ": needs one of: ", MembersOf(oneof)));
  }
  for (int i = 0; i < type.field_count(); ++i) {
    TRIBUTARY_RETURN_IF_ERROR(CheckField(message, *type.field(i), Join(path, type.field(i)->name())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRules(const Message& message) {
  return Check(message, "");
}

const v1::FieldRule& RuleOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rule);
}

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field.message_type() == google::protobuf::Duration::descriptor();
}

bool HasRequiredField(const Descriptor& type) {
  if (type.real_oneof_decl_count() > 0) {
    return true;  // one of its members
  }
  for (int i = 0; i < type.field_count(); ++i) {
    if (RuleOf(*type.field(i)).required()) {
      return true;
    }
  }
  return false;
}

std::string MembersOf(const OneofDescriptor& oneof) {
  std::string members;
  for (int i = 0; i < oneof.field_count(); ++i) {
    absl::StrAppend(&members, i == 0 ? "" : ", ", oneof.field(i)->name());
  }
  return members;
}

std::string ProblemOfValue(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  if (const std::optional<double> number = NumberOf(message, field, index)) {
    return ProblemOfNumber(*number, field);
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      const std::string& value = index < 0 ? reflection.GetStringReference(message, &field, &scratch)
                                           : reflection.GetRepeatedStringReference(message, &field, index, &scratch);
      return ProblemOfString(value, RuleOf(field));
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = index < 0 ? reflection.GetEnumValue(message, &field) : reflection.GetRepeatedEnumValue(message, &field, index);
      return field.enum_type()->FindValueByNumber(value) != nullptr ? ""
                                                                    : absl::StrCat(value, " is not a value of ", field.enum_type()->name());
    }
    default:
      return "";
  }
}

std::string ProblemOfPath(absl::string_view path) {
  if (const size_t end = path.find("://"); end != absl::string_view::npos) {
    return absl::StrCat("'", path, "' is a URL; write ", path.substr(end + 3), ", without ", path.substr(0, end + 3));
  }
  if (absl::StartsWith(path, "~")) {
    const size_t slash = std::min(path.find('/'), path.size());
    const absl::string_view user = path.substr(1, slash - 1);
    return absl::StrCat("'", path, "': ~ is not expanded here; write /home/", user.empty() ? "NAME" : user, path.substr(slash),
                        " in full (or ./", path, " for a folder of that name)");
  }
  if (absl::StartsWith(path, "$")) {
    return absl::StrCat("'", path, "': variables are not expanded here; write the path in full (or ./", path,
                        " for a folder of that name)");
  }
  if (absl::StrContains(path, "${")) {
    return absl::StrCat("'", path, "': variables are not expanded here; write the path in full");
  }
  return "";
}

std::string ProblemOfList(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  const v1::FieldRule& rule = RuleOf(field);
  const int size = reflection.FieldSize(message, &field);
  if (size == 0 && rule.required()) {
    return "is missing or empty";
  }
  if (rule.has_min() && size < rule.min()) {
    return absl::StrCat("has ", size, " elements, fewer than ", FormatNumber(rule.min(), field));
  }
  if (rule.has_max() && size > rule.max()) {
    return absl::StrCat("has ", size, " elements, more than ", FormatNumber(rule.max(), field));
  }
  if (rule.name()) {
    std::set<std::string> seen;
    for (int i = 0; i < size; ++i) {
      std::string name = reflection.GetRepeatedString(message, &field, i);
      if (!seen.insert(name).second) {
        return absl::StrCat("has '", name, "' twice");
      }
    }
  }
  return "";
}

}  // namespace tributary
