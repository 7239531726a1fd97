#include "proto/config/yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "google/protobuf/duration.pb.h"
#include "proto/config/rules.h"
#include "proto/config/yaml_documents.h"
#include "proto/durations.h"

namespace tributary {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr uint64_t kMaxYamlBytes = 1 << 20;

std::vector<std::string> KeysOf(const Descriptor& type) {
  std::vector<std::string> keys;
  for (int i = 0; i < type.field_count(); ++i) {
    keys.push_back(type.field(i)->name());
  }
  return keys;
}

// The names of an enum's values as they are written; not the unspecified one, which is the absence of the key.
std::vector<std::string> WordsOf(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (!absl::EndsWith(type.value(i)->name(), "_UNSPECIFIED")) {
      words.push_back(absl::AsciiStrToLower(type.value(i)->name()));
    }
  }
  return words;
}

std::string Expected(const FieldDescriptor& field) {
  if (IsDuration(field)) {
    return "a duration with its unit, like 30s, 5m or 1h30m";
  }
  switch (RuleOf(field).unit()) {
    case v1::UNIT_BYTES:
      return "a size with its unit, like 10MiB, 64KiB or 1500B";
    case v1::UNIT_BITS_PER_SECOND:
      return "a rate with its unit, like 1Mbit/s or 500kbit/s";
    default:
      break;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return absl::StrCat("a map with keys ", absl::StrJoin(KeysOf(*field.message_type()), ", "));
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ", absl::StrJoin(WordsOf(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    default:
      return RuleOf(field).zero_word().empty() ? "a whole number" : absl::StrCat("a whole number, or ", RuleOf(field).zero_word());
  }
}

std::string Found(const YAML::Node& node) {
  const char* const kind = node.IsMap() ? "a map" : node.IsSequence() ? "a list" : node.IsNull() ? "nothing" : nullptr;
  return kind != nullptr ? kind : absl::StrCat("'", node.Scalar(), "'");
}

// Scalars. Each parser takes what it can represent exactly and nothing else, and says why not.

// A scalar as written; `quoted` ones are text, whatever they look like.
struct Scalar {
  absl::string_view text;
  bool quoted = false;
};

absl::Status Unexpected(const Scalar& scalar, const FieldDescriptor& field) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", Expected(field), ", found ", scalar.quoted ? "the text " : "", "'",
                                                 scalar.text, "'", scalar.quoted ? " (remove the quotes)" : ""));
}

// Length of the number at the front of `text`: digits with at most one point, and an exponent. 0: none. A sign is the caller's.
size_t NumberLength(absl::string_view text) {
  size_t i = 0;
  size_t digits = 0;
  const auto skip_digits = [&] {
    for (; i < text.size() && absl::ascii_isdigit(text[i]); ++i) {
      ++digits;
    }
  };
  skip_digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    skip_digits();
  }
  if (digits == 0) {
    return 0;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    size_t j = i + 1;
    if (j < text.size() && (text[j] == '+' || text[j] == '-')) {
      ++j;
    }
    const size_t first = j;
    while (j < text.size() && absl::ascii_isdigit(text[j])) {
      ++j;
    }
    if (j > first) {
      i = j;
    }
  }
  return i;
}

// "010" is eight in some notations and ten in others.
bool HasLeadingZero(absl::string_view digits) {
  return digits.size() > 1 && digits[0] == '0' && absl::ascii_isdigit(digits[1]);
}

absl::StatusOr<double> ParseDouble(const Scalar& scalar, const FieldDescriptor& field) {
  absl::string_view digits = scalar.text;
  const bool negative = absl::StartsWith(digits, "-");
  if (negative || absl::StartsWith(digits, "+")) {
    digits.remove_prefix(1);
  }
  if (scalar.quoted || digits.empty() || NumberLength(digits) != digits.size()) {
    return Unexpected(scalar, field);
  }
  if (HasLeadingZero(digits)) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' has a leading zero; remove it"));
  }
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is too large or too small for a number"));
  }
  return negative ? -value : value;
}

// Integers also in the forms 1e3 and 4.0, where a double holds them exactly.
absl::StatusOr<int64_t> ParseSigned(const Scalar& scalar, const FieldDescriptor& field) {
  TRIBUTARY_ASSIGN_OR_RETURN(const double value, ParseDouble(scalar, field));
  int64_t exact = 0;
  if (absl::SimpleAtoi(scalar.text, &exact)) {
    return exact;
  }
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value != std::floor(value) || std::abs(value) > kExact) {
    return Unexpected(scalar, field);
  }
  return static_cast<int64_t>(value);
}

absl::StatusOr<uint64_t> ParseUnsigned(const Scalar& scalar, const FieldDescriptor& field) {
  const std::string& zero_word = RuleOf(field).zero_word();
  if (!zero_word.empty() && scalar.text == zero_word && !scalar.quoted) {
    return 0;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const double value, ParseDouble(scalar, field));
  if (std::signbit(value) && value != 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is negative"));
  }
  if (value == 0 && !zero_word.empty()) {
    return Unexpected(scalar, field);
  }
  uint64_t exact = 0;
  if (absl::SimpleAtoi(scalar.text, &exact)) {
    return exact;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t rounded, ParseSigned(scalar, field));
  return static_cast<uint64_t>(rounded);
}

struct UnitFactor {
  absl::string_view name;
  double factor;
};
constexpr UnitFactor kByteUnits[] = {{"B", 1},    {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0},
                                     {"kB", 1e3}, {"MB", 1e6},   {"GB", 1e9},      {"TB", 1e12}};
constexpr UnitFactor kBitRateUnits[] = {{"bit/s", 1}, {"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}};

// "10MiB" or "10 MiB"; the product must be whole.
absl::StatusOr<uint64_t> ParseQuantity(const Scalar& scalar, const FieldDescriptor& field) {
  const size_t length = scalar.quoted ? 0 : NumberLength(scalar.text);
  if (length == 0) {
    return Unexpected(scalar, field);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const double number, ParseDouble({scalar.text.substr(0, length)}, field));
  const absl::string_view unit = absl::StripLeadingAsciiWhitespace(scalar.text.substr(length));
  const absl::Span<const UnitFactor> units =
      RuleOf(field).unit() == v1::UNIT_BYTES ? absl::Span<const UnitFactor>(kByteUnits) : absl::Span<const UnitFactor>(kBitRateUnits);
  const auto known = std::find_if(units.begin(), units.end(), [&](const UnitFactor& candidate) { return candidate.name == unit; });
  if (known == units.end()) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' has ",
                                                   unit.empty() ? "no unit" : absl::StrCat("the unknown unit '", unit, "'"), "; expected ",
                                                   Expected(field)));
  }
  const double value = number * known->factor;
  if (value != std::floor(value) || value > 9007199254740992.0) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is not a whole number of ", units[0].name));
  }
  return static_cast<uint64_t>(value);
}

absl::StatusOr<google::protobuf::Duration> ParseProtoDuration(const Scalar& scalar, const FieldDescriptor& field) {
  absl::Duration duration;
  if (!scalar.quoted && !scalar.text.empty() && NumberLength(scalar.text) == scalar.text.size()) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' has no unit; expected ", Expected(field)));
  }
  if (scalar.quoted || !absl::ParseDuration(scalar.text, &duration)) {
    return Unexpected(scalar, field);
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is negative"));
  }
  // Protocol Buffers' own bound on durations is 10,000 years.
  if (duration > absl::Hours(24 * 365 * 10000.0)) {
    return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is too long"));
  }
  return ProtoDurationOf(duration);
}

absl::StatusOr<const EnumValueDescriptor*> ParseEnum(const Scalar& scalar, const EnumDescriptor& type) {
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor* value = type.value(i);
    if (!absl::EndsWith(value->name(), "_UNSPECIFIED") && absl::AsciiStrToLower(value->name()) == scalar.text) {
      return value;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown value '", scalar.text, "'", DidYouMean(scalar.text, WordsOf(type))));
}

class Reader {
 public:
  // `folder`: what relative paths are resolved against; empty: leave them.
  Reader(absl::string_view file, std::filesystem::path folder) : file_(file), folder_(std::move(folder)) {}

  absl::Status ReadRoot(const YAML::Node& node, Message* message) const {
    if (!node.IsMap() && !node.IsNull()) {
      return Error(node, "", absl::StrCat("expected a map of keys, found ", Found(node)));
    }
    return ReadMap(node, node, "", message);
  }

 private:
  absl::Status Error(const YAML::Node& at, absl::string_view path, absl::string_view what) const {
    const int line = std::max(at.Mark().line, 0) + 1;
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", line, ": ", path, path.empty() ? "" : ": ", what));
  }

  // A null node stands for an empty map. `at`, here and below, is where to say that something is wrong.
  absl::Status ReadMap(const YAML::Node& at, const YAML::Node& node, const std::string& path, Message* message) const {
    const Descriptor& type = *message->GetDescriptor();
    const auto path_of = [&](absl::string_view key) { return path.empty() ? std::string(key) : absl::StrCat(path, ".", key); };
    std::map<std::string, int> lines;  // of the keys seen
    for (const auto& pair : node) {
      if (!pair.first.IsScalar()) {
        return Error(pair.first, path, absl::StrCat("expected a key, found ", Found(pair.first)));
      }
      const std::string& key = pair.first.Scalar();
      const FieldDescriptor* field = type.FindFieldByName(key);
      if (field == nullptr) {
        return Error(pair.first, path_of(key), absl::StrCat("unknown key", DidYouMean(key, KeysOf(type))));
      }
      const auto [seen, is_new] = lines.emplace(key, pair.first.Mark().line + 1);
      if (!is_new) {
        return Error(pair.first, path_of(key), absl::StrCat("given twice (first in line ", seen->second, ")"));
      }
      if (const OneofDescriptor* oneof = field->real_containing_oneof()) {
        if (const FieldDescriptor* other = message->GetReflection()->GetOneofFieldDescriptor(*message, oneof)) {
          return Error(pair.first, path_of(key),
                       absl::StrCat("only one of ", MembersOf(*oneof), " may be given, and '", other->name(), "' already is"));
        }
      }
      // An empty value and a key missing from a map are reported where the key of that value or map stands.
      const bool at_key = pair.second.IsNull() || IsSubmessage(*field);
      TRIBUTARY_RETURN_IF_ERROR(ReadField(at_key ? pair.first : pair.second, pair.second, path_of(key), *field, message));
    }
    return Complete(at, path, lines, message);
  }

  // Fills in defaults and misses what is required.
  absl::Status Complete(const YAML::Node& at, const std::string& path, const std::map<std::string, int>& given, Message* message) const {
    const Descriptor& type = *message->GetDescriptor();
    for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
      const OneofDescriptor& oneof = *type.oneof_decl(i);
      if (!message->GetReflection()->HasOneof(*message, &oneof)) {
        return Error(at, path, absl::StrCat("needs one of: ", MembersOf(oneof)));
      }
    }
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (given.count(field.name()) > 0 || field.real_containing_oneof() != nullptr) {
        continue;
      }
      const v1::FieldRule& rule = RuleOf(field);
      const std::string field_path = path.empty() ? field.name() : absl::StrCat(path, ".", field.name());
      if (rule.required()) {
        return Error(at, field_path, absl::StrCat("is missing; expected ", ExpectedOf(field)));
      }
      if (!rule.default_value().empty()) {
        TRIBUTARY_RETURN_IF_ERROR(SetScalar(at, {rule.default_value()}, field_path, field, message));
      } else if (IsSubmessage(field) && !field.is_repeated() && !HasRequiredField(*field.message_type())) {
        TRIBUTARY_RETURN_IF_ERROR(ReadMap(at, YAML::Node(), field_path, message->GetReflection()->MutableMessage(message, &field)));
      }
    }
    return absl::OkStatus();
  }

  static bool IsSubmessage(const FieldDescriptor& field) {
    return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field);
  }

  static std::string ExpectedOf(const FieldDescriptor& field) {
    return field.is_repeated() ? absl::StrCat("a list, each element ", Expected(field)) : Expected(field);
  }

  absl::Status ReadField(const YAML::Node& at, const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                         Message* message) const {
    if (!field.is_repeated()) {
      return ReadValue(at, node, path, field, message);
    }
    if (!node.IsSequence()) {
      return Error(at, path, absl::StrCat("expected ", ExpectedOf(field), ", found ", Found(node)));
    }
    for (size_t i = 0; i < node.size(); ++i) {
      TRIBUTARY_RETURN_IF_ERROR(ReadValue(node[i], node[i], absl::StrCat(path, "[", i, "]"), field, message));
    }
    const std::string problem = ProblemOfList(*message, field);
    return problem.empty() ? absl::OkStatus() : Error(at, path, problem);
  }

  absl::Status ReadValue(const YAML::Node& at, const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                         Message* message) const {
    if (IsSubmessage(field)) {
      if (!node.IsMap() && !node.IsNull()) {
        return Error(at, path, absl::StrCat("expected ", Expected(field), ", found ", Found(node)));
      }
      const Reflection& reflection = *message->GetReflection();
      return ReadMap(at, node, path,
                     field.is_repeated() ? reflection.AddMessage(message, &field) : reflection.MutableMessage(message, &field));
    }
    if (!node.IsScalar()) {
      return Error(at, path, absl::StrCat("expected ", Expected(field), ", found ", Found(node)));
    }
    if (node.Tag() != "?" && node.Tag() != "!" && !node.Tag().empty()) {
      return Error(at, path, absl::StrCat("the tag ", node.Tag(), " is not supported; remove it"));
    }
    return SetScalar(at, {node.Scalar(), node.Tag() == "!"}, path, field, message);
  }

  // Parses, sets (or appends) and checks one value.
  absl::Status SetScalar(const YAML::Node& at, const Scalar& scalar, const std::string& path, const FieldDescriptor& field,
                         Message* message) const {
    const absl::Status status = Assign(scalar, field, message);
    if (!status.ok()) {
      return Error(at, path, status.message());
    }
    const int index = field.is_repeated() ? message->GetReflection()->FieldSize(*message, &field) - 1 : -1;
    const std::string problem = ProblemOfValue(*message, field, index);
    return problem.empty() ? absl::OkStatus() : Error(at, path, problem);
  }

  absl::Status Assign(const Scalar& scalar, const FieldDescriptor& field, Message* message) const {
    const Reflection& reflection = *message->GetReflection();
    const auto put = [&](auto set, auto add, auto value) {
      if (field.is_repeated()) {
        (reflection.*add)(message, &field, value);
      } else {
        (reflection.*set)(message, &field, value);
      }
      return absl::OkStatus();
    };
    if (IsDuration(field)) {
      TRIBUTARY_ASSIGN_OR_RETURN(const google::protobuf::Duration value, ParseProtoDuration(scalar, field));
      (field.is_repeated() ? reflection.AddMessage(message, &field) : reflection.MutableMessage(message, &field))->CopyFrom(value);
      return absl::OkStatus();
    }
    const bool has_unit = RuleOf(field).unit() != v1::UNIT_NONE;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT64:
      case FieldDescriptor::CPPTYPE_UINT32: {
        TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t value, has_unit ? ParseQuantity(scalar, field) : ParseUnsigned(scalar, field));
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
          return put(&Reflection::SetUInt64, &Reflection::AddUInt64, value);
        }
        if (value > std::numeric_limits<uint32_t>::max()) {
          return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is too large"));
        }
        return put(&Reflection::SetUInt32, &Reflection::AddUInt32, static_cast<uint32_t>(value));
      }
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_INT32: {
        TRIBUTARY_ASSIGN_OR_RETURN(const int64_t value, ParseSigned(scalar, field));
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
          return put(&Reflection::SetInt64, &Reflection::AddInt64, value);
        }
        if (value != static_cast<int32_t>(value)) {
          return absl::InvalidArgumentError(absl::StrCat("'", scalar.text, "' is too large"));
        }
        return put(&Reflection::SetInt32, &Reflection::AddInt32, static_cast<int32_t>(value));
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        TRIBUTARY_ASSIGN_OR_RETURN(const double value, ParseDouble(scalar, field));
        return put(&Reflection::SetDouble, &Reflection::AddDouble, value);
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (scalar.quoted || (scalar.text != "true" && scalar.text != "false")) {
          return Unexpected(scalar, field);
        }
        return put(&Reflection::SetBool, &Reflection::AddBool, scalar.text == "true");
      case FieldDescriptor::CPPTYPE_ENUM: {
        TRIBUTARY_ASSIGN_OR_RETURN(const EnumValueDescriptor* value, ParseEnum(scalar, *field.enum_type()));
        return put(&Reflection::SetEnum, &Reflection::AddEnum, value);
      }
      case FieldDescriptor::CPPTYPE_STRING:
        if (RuleOf(field).path()) {
          TRIBUTARY_ASSIGN_OR_RETURN(const std::string path, Resolve(scalar.text));
          return put(&Reflection::SetString, &Reflection::AddString, path);
        }
        return put(&Reflection::SetString, &Reflection::AddString, std::string(scalar.text));
      default:
        return absl::InternalError(absl::StrCat("configuration fields of type ", field.type_name(), " are not supported"));
    }
  }

  absl::StatusOr<std::string> Resolve(absl::string_view path) const {
    if (const std::string problem = ProblemOfPath(path); !problem.empty()) {
      return absl::InvalidArgumentError(problem);
    }
    return path.empty() || folder_.empty() ? std::string(path) : (folder_ / std::string(path)).lexically_normal().string();
  }

  const std::string file_;
  const std::filesystem::path folder_;
};

absl::Status Parse(absl::string_view text, absl::string_view name, const std::filesystem::path& folder, Message* message) {
  message->Clear();
  const auto refuse = [](const std::string& why) { return WithExitCode(absl::InvalidArgumentError(why), ExitCode::kUsage); };
  try {
    if (HasSeveralDocuments(text)) {
      return refuse(absl::StrCat(name, " holds more than one document (separated by ---); one is expected"));
    }
    return WithExitCode(Reader(name, folder).ReadRoot(YAML::Load(std::string(text)), message), ExitCode::kUsage);
  } catch (const YAML::Exception& error) {
    return refuse(absl::StrCat(name, ":", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
}

}  // namespace

absl::Status LoadYaml(const std::string& path, Message* message) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxYamlBytes);
  if (!text.ok()) {
    return WithExitCode(text.status(), ExitCode::kUsage);
  }
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
  if (error) {
    return WithExitCode(absl::InternalError(absl::StrCat("cannot find the folder of ", path, ": ", error.message())), ExitCode::kUsage);
  }
  return Parse(*text, path, folder, message);
}

absl::Status ParseYaml(absl::string_view text, absl::string_view name, Message* message) {
  return Parse(text, name, {}, message);
}

}  // namespace tributary
