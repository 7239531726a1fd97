// What network.cc and network_transfers.cc share.
#ifndef TRIBUTARY_SIM_NETWORK_PARTS_H_
#define TRIBUTARY_SIM_NETWORK_PARTS_H_

#include <deque>
#include <memory>
#include <string>

#include "sim/network.h"

namespace tributary::sim {

// What travels on a stream.
struct Network::Parcel {
  enum class Kind { kOpen, kMessage, kEnd };
  Kind kind;
  std::shared_ptr<const std::string> bytes;  // kMessage
  absl::Status status;                       // kEnd
};

// One session's stream. The coordinator has its SessionSink until it was told of its end; events keep it alive.
struct Network::Stream final : coordinator::SessionSink, std::enable_shared_from_this<Stream> {
  void Send(std::shared_ptr<const v1::CoordinatorMessage> message) override;
  void Close(const absl::Status& status) override;
  std::string Name() const;

  Network* network = nullptr;
  int site = 0;
  uint64_t number = 0;  // the worker's
  coordinator::SessionOrigin origin;
  uint64_t life = 0;  // of the coordinator that took it
  std::deque<Parcel> up;
  std::deque<Parcel> down;
  absl::Time last_up = absl::InfinitePast();  // the newest parcel's arrival: none overtakes another
  absl::Time last_down = absl::InfinitePast();
  bool worker_open = true;
  bool coordinator_open = false;
  bool closing = false;  // the coordinator has closed it
  bool cut = false;      // nothing passes any more
};

// A part of an upload's payload.
struct Network::Frame {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool first = false;  // of this attempt: the header is before it
  bool corrupt = false;
};

struct Network::Transfer {
  int site = 0;
  uint64_t number = 0;
  uint64_t unique = 0;  // over all sites' processes
  uint64_t life = 0;    // of the coordinator it talks to
  bool over = false;    // the worker has its answer, or does not want one
  uint64_t offset = 0;
  // Of an upload.
  uint64_t held = 0;  // by the coordinator when this attempt began
  v1::UploadHeader header;
  std::shared_ptr<const std::string> payload;  // null: a download
  // Of a download.
  v1::DownloadRequest request;
  uint64_t max_bytes = 0;
  SharedBytes bytes;
  bool header_sent = false;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_NETWORK_PARTS_H_
