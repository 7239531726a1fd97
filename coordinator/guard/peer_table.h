// Who is behind the connections that the guard handed to gRPC.
#ifndef TRIBUTARY_COORDINATOR_GUARD_PEER_TABLE_H_
#define TRIBUTARY_COORDINATOR_GUARD_PEER_TABLE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/tls.h"
#include "proto/audit/signed_update.h"

namespace tributary::coordinator {

// What the guard saw of one connection.
struct Peer {
  uint64_t connection = 0;                // numbered from 1
  std::string address;                    // "192.0.2.1:40000"
  std::vector<std::string> uris;          // of the certificate; empty in plaintext
  Validity validity;                      // of the certificate; in plaintext, for ever
  std::vector<std::string> issuers = {};  // of the certificate, as in ClientCertificate
  Certificates certificates = nullptr;    // likewise
};

// By the descriptor that gRPC owns. gRPC names a connection's peer "fd:7", and keeps the descriptor until the last call on the connection
// is gone: as long as somebody can ask, the number cannot have become another connection's. Thread-safe.
class PeerTable {
 public:
  void Insert(int descriptor, Peer peer);
  // No more than that connection: the number may be another's by now.
  void Erase(int descriptor, uint64_t connection);
  // `grpc_peer`: of a call's context.
  std::optional<Peer> Find(absl::string_view grpc_peer) const;

 private:
  mutable std::mutex mutex_;
  std::map<int, Peer> peers_;  // under mutex_
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_PEER_TABLE_H_
