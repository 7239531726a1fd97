// How many documents a YAML text has.
#ifndef TRIBUTARY_PROTO_CONFIG_YAML_DOCUMENTS_H_
#define TRIBUTARY_PROTO_CONFIG_YAML_DOCUMENTS_H_

#include "absl/strings/string_view.h"

namespace tributary {

// Whether there is more than one. Reads no further than the second: in front of a comma yaml-cpp 0.7 finds documents without end, and its
// LoadAll takes all memory. Throws YAML::Exception: what was read is not YAML.
bool HasSeveralDocuments(absl::string_view text);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_YAML_DOCUMENTS_H_
