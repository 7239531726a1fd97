#include "proto/config/reload.h"

#include <memory>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"

namespace tributary {

bool Reloaded::Took(const std::string& key) const {
  return absl::c_linear_search(taken, key);
}

std::string Reloaded::Text() const {
  return absl::StrCat(taken.empty() ? "nothing else to reload" : absl::StrCat("reloaded: ", absl::StrJoin(taken, ", ")),
                      left.empty() ? "" : absl::StrCat(". Changed, and not in force before a restart: ", absl::StrJoin(left, ", ")));
}

Reloaded TakeOver(const google::protobuf::Message& read, const std::vector<std::string>& keys, google::protobuf::Message* in_force) {
  Reloaded reloaded;
  const google::protobuf::Descriptor& type = *read.GetDescriptor();
  // What is taken over, of a message that is otherwise empty.
  const std::unique_ptr<google::protobuf::Message> taken(read.New());
  taken->CopyFrom(read);
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* const field = type.field(i);
    google::protobuf::util::MessageDifferencer differencer;
    const bool takes = absl::c_linear_search(keys, field->name());
    if (!differencer.CompareWithFields(*in_force, read, {field}, {field})) {
      (takes ? reloaded.taken : reloaded.left).push_back(field->name());
    }
    if (takes) {
      in_force->GetReflection()->ClearField(in_force, field);
    } else {
      taken->GetReflection()->ClearField(taken.get(), field);
    }
  }
  in_force->MergeFrom(*taken);
  return reloaded;
}

LogLevel LogLevelOf(v1::Logging::Level level) {
  switch (level) {
    case v1::Logging::DEBUG:
      return LogLevel::kDebug;
    case v1::Logging::WARNING:
      return LogLevel::kWarning;
    case v1::Logging::ERROR:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

LogFormat LogFormatOf(v1::Logging::Format format) {
  return format == v1::Logging::JSON ? LogFormat::kJson : LogFormat::kText;
}

}  // namespace tributary
