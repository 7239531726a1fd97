// The limits stated in proto/tributary/v1/annotations.proto, checked on messages wherever they came from: a YAML file or the network.
#ifndef TRIBUTARY_PROTO_CONFIG_RULES_H_
#define TRIBUTARY_PROTO_CONFIG_RULES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "tributary/v1/annotations.pb.h"

namespace tributary {

// Checks every annotated field of `message`, and of the messages in it, against its rule, that each oneof has a member, and that
// nothing is said that this release does not know: a newer peer may ask for what must not be passed over. A message that the YAML reader
// completed passes; one that leaves out what has a default does not, because a run must say all that determines it.
// InvalidArgument names the key path, the value and the limit: "optimizer.k: 5000 is more than 4096".
absl::Status CheckRules(const google::protobuf::Message& message);

// The rest is shared with the YAML reader.

const v1::FieldRule& RuleOf(const google::protobuf::FieldDescriptor& field);

// Whether a message of this type cannot be made of defaults alone.
bool HasRequiredField(const google::protobuf::Descriptor& type);

// What is wrong, by its rule, with a value that is present: "5000 is more than 4096"; empty if nothing. `index` is the element of a
// repeated field, or -1 for a single field. Messages other than Duration are not looked into.
std::string ProblemOfValue(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field, int index);

// The same of a repeated field as a whole: its number of elements, and names that occur twice.
std::string ProblemOfList(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field);

// What is wrong with a path as it is written in a file, where no shell expands it: "'~/x': ~ is not expanded here; write ..."; empty if
// nothing.
std::string ProblemOfPath(absl::string_view path);

// "gpt, mlp" of oneof { gpt, mlp }.
std::string MembersOf(const google::protobuf::OneofDescriptor& oneof);

bool IsDuration(const google::protobuf::FieldDescriptor& field);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_RULES_H_
