// Conversations of a small federation, written down: what every party heard and said, so that another release can be fed the one and
// compared with the other (tests/compat/).
//
// A recording is a folder with one text file a party: coordinator.conversation and SITE.conversation. Its lines are
//   config JSON                             the party's configuration, first
//   NANOSECONDS STREAM VERB ARGUMENTS       since the start of the simulation; STREAM: a session or transfer, "-" for none
//   hash HEX                                of the model's last state, last
// in the order in which it happened. Bytes are in base64, messages in the JSON of Protocol Buffers.
//   coordinator   - submits RUN
//                 SITE/SESSION opens | hears MESSAGE | ended          what it is told
//                 SITE/SESSION says MESSAGE | closes CODE             what it does
//                 SITE checks HEADER | takes PAYLOAD HEADER | serves REQUEST, and what it answers: SITE answers CODE [BYTES]
//   site          - starts | is killed
//                 SESSION hears MESSAGE | ended CODE; TRANSFER uploaded CODE ARRIVED | downloaded CODE ARRIVED [BYTES]
//                 SESSION opens | says MESSAGE | closes; TRANSFER uploads PAYLOAD HEADER | downloads REQUEST | cancels
#ifndef TRIBUTARY_SIM_RECORDING_H_
#define TRIBUTARY_SIM_RECORDING_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace tributary::sim {

std::string RecordedJson(const google::protobuf::Message& message);
// "OK", "UNAVAILABLE".
std::string CodeName(const absl::Status& status);

// Writes one recording for each kind of commit into folders of `folder`: DistrO, whose updates travel on the session, and dense gradients,
// whose updates and commits travel as transfers. In each, one site's session breaks, and the other's process is killed.
// Internal: the run did not go as it should. Errors of the file system.
absl::Status RecordConversations(const std::string& folder);

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_RECORDING_H_
