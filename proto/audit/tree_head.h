// Heads of the audit log: how they are signed, and what it takes to believe one (docs/explanation/audit_log.md).
#ifndef TRIBUTARY_PROTO_AUDIT_TREE_HEAD_H_
#define TRIBUTARY_PROTO_AUDIT_TREE_HEAD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"
#include "common/tls.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/audit.pb.h"

namespace tributary {

// What a head's signature is over, a line each: "tributary audit log head v1", federation, size, root hash in hexadecimal, milliseconds
// since 1970.
std::string TreeHeadText(const v1::TreeHead& head, absl::string_view federation);

// Signs with the key of the coordinator's certificate, and adds that. Errors of SignText.
absl::Status SignTreeHead(const CertificatePair& pair, absl::string_view federation, v1::TreeHead& head);

// That the coordinator of the federation signed it, with a certificate that a CA of `ca` (PEM) accepted at the head's time.
// Unauthenticated, exit code kCredentials.
absl::Status VerifyTreeHead(const v1::TreeHead& head, absl::string_view federation, absl::string_view ca);

// A message's hashes. InvalidArgument: one of them is not a hash, or there are more than a proof has.
absl::StatusOr<std::vector<Digest>> HashesOf(const google::protobuf::RepeatedPtrField<std::string>& hashes);
absl::StatusOr<Digest> RootOf(const v1::TreeHead& head);

// That the log of the newer head begins with the one of the older: they say the same at the same size, and `proof` shows it at another.
// InvalidArgument, as of VerifyConsistency.
absl::Status VerifyContinues(const v1::TreeHead& older, const v1::TreeHead& newer,
                             const google::protobuf::RepeatedPtrField<std::string>& proof);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_AUDIT_TREE_HEAD_H_
