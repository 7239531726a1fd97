// YAML into protocol messages, checked field by field against proto/tributary/v1/annotations.proto.
#ifndef TRIBUTARY_PROTO_CONFIG_YAML_H_
#define TRIBUTARY_PROTO_CONFIG_YAML_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace tributary {

// Fills `message` from the YAML file. Keys are field names; enum values are written in lower case; a message-typed field is a map, a
// repeated one a list; defaults are filled in, so that the message is complete.
// InvalidArgument, exit code kUsage: "run.yaml:12: optimizer.k: 5000 is more than 4096", an unknown key (with the nearest known one), a
// missing required key, a number without its unit, a repeated key, two members of a oneof.
absl::Status LoadYaml(const std::string& path, google::protobuf::Message* message);

// The same from text; `name` stands for the file in messages, and relative paths resolve against the current folder.
absl::Status ParseYaml(absl::string_view text, absl::string_view name, google::protobuf::Message* message);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_YAML_H_
