// Bytes that a message takes on the wire, by arithmetic: what bytes_total counts at the coordinator and at the worker.
//
// From the inside out: the encoded message; gRPC's prefix of 5 bytes (flag and length); HTTP/2 DATA frames of at most 16,384 bytes with a
// header of 9 each; TLS 1.3 records, each with a header of 5, a content type of 1 and a tag of 16, of at most 16,284 plaintext bytes (gRPC
// keeps 100 of 16,384 for the protection). The receiver answers a message with two HTTP/2 window updates (stream and connection) of 13
// bytes, which ride with the next message of the other direction; they are charged to the message that caused them. That is what the
// connection's socket moves for messages: measured to within 3 % (tests/coordinator/rpc/wire_size_test.cc). Not in it: handshakes, a call's
// headers, pings, and TCP/IP headers (on Ethernet about 66 bytes a packet, 4.6 % of full packets).
#ifndef TRIBUTARY_COMMON_WIRE_SIZE_H_
#define TRIBUTARY_COMMON_WIRE_SIZE_H_

#include <cstdint>

namespace tributary {

inline constexpr uint64_t kGrpcPrefixBytes = 5;
inline constexpr uint64_t kHttp2FrameHeaderBytes = 9;
inline constexpr uint64_t kHttp2FrameBytes = 16384;
inline constexpr uint64_t kHttp2WindowUpdatesBytes = 2 * (9 + 4);
inline constexpr uint64_t kTlsRecordOverheadBytes = 5 + 1 + 16;
inline constexpr uint64_t kTlsRecordPlaintextBytes = 16384 - 100;

// Bytes at the socket for one message of `encoded_bytes` (ByteSizeLong()). Without TLS (`--insecure`) the same is counted, so that figures
// can be compared.
constexpr uint64_t WireSize(uint64_t encoded_bytes) {
  const uint64_t message = kGrpcPrefixBytes + encoded_bytes;
  const uint64_t frames = (message + kHttp2FrameBytes - 1) / kHttp2FrameBytes;
  const uint64_t plaintext = message + frames * kHttp2FrameHeaderBytes;
  const uint64_t records = (plaintext + kTlsRecordPlaintextBytes - 1) / kTlsRecordPlaintextBytes;
  return plaintext + records * kTlsRecordOverheadBytes + kHttp2WindowUpdatesBytes;
}

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_WIRE_SIZE_H_
