// HTTP/2 as a client sends it, byte by byte.
#ifndef TRIBUTARY_TESTS_COORDINATOR_GUARD_FRAMES_H_
#define TRIBUTARY_TESTS_COORDINATOR_GUARD_FRAMES_H_

#include <cstdint>
#include <string>

namespace tributary::coordinator {

inline std::string Preface() {
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
}

enum Frame : uint8_t { kData, kHeaders, kPriority, kReset, kSettings, kPush, kPing, kGoAway, kWindowUpdate, kContinuation };
inline constexpr uint8_t kEndStream = 1;
inline constexpr uint8_t kEndHeaders = 4;

inline std::string MakeFrame(Frame type, size_t length, uint8_t flags = 0, uint32_t stream = 1) {
  std::string frame;
  for (const size_t byte : {length >> 16, length >> 8, length, size_t{type}, size_t{flags}, size_t{stream >> 24}, size_t{stream >> 16},
                            size_t{stream >> 8}, size_t{stream}}) {
    frame.push_back(static_cast<char>(byte));
  }
  return frame + std::string(length, 'x');
}

// With `bytes` of a call's messages in it.
inline std::string MakeData(const std::string& bytes, uint8_t flags = 0, uint32_t stream = 1) {
  return MakeFrame(kData, bytes.size(), flags, stream).substr(0, 9) + bytes;
}

// A gRPC message as it travels inside data.
inline std::string MakeMessage(size_t length) {
  std::string message(1, '\0');
  for (const size_t byte : {length >> 24, length >> 16, length >> 8, length}) {
    message.push_back(static_cast<char>(byte));
  }
  return message + std::string(length, 'x');
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_GUARD_FRAMES_H_
