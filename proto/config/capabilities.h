// What a program can do of what a run may ask, in words that it and its peer compare: "mode:distro", "model:gpt", "data:csv", "pipeline".
//
// A coordinator offers a run only to the sites that can do all it needs. A release that adds something a worker must be able to do adds a
// word here; a word that the other side does not know is ignored.
#ifndef TRIBUTARY_PROTO_CONFIG_CAPABILITIES_H_
#define TRIBUTARY_PROTO_CONFIG_CAPABILITIES_H_

#include <cstddef>
#include <set>
#include <string>

#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

using Capabilities = std::set<std::string>;

// Of what a peer tells, no more is looked at; longer words are passed over.
inline constexpr int kMaxCapabilities = 128;
inline constexpr size_t kMaxCapabilityBytes = 64;

// A worker signs its updates where it has a key. No run asks for it, but a coordinator may.
inline constexpr char kSignsUpdates[] = "updates:signed";

// Of this program.
const Capabilities& OwnCapabilities();

// Of a peer that told these. One that tells none is of a release that did not know of them yet, and had just what that release had.
Capabilities CapabilitiesOf(const google::protobuf::RepeatedPtrField<std::string>& told);

// What a worker must be able to do to take part in this run.
Capabilities RequiredCapabilities(const v1::RunSpec& run);

// `run` without keys that say what goes without saying, and that release 0.1.0 does not know: it would refuse the run for them.
v1::RunSpec WithoutNewDefaults(v1::RunSpec run);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_CAPABILITIES_H_
