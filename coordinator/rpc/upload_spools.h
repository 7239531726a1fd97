// Partial uploads, in memory or in files: which may come in, which must wait or go, and whether what came is what was announced. Nothing of
// gRPC.
#ifndef TRIBUTARY_COORDINATOR_RPC_UPLOAD_SPOOLS_H_
#define TRIBUTARY_COORDINATOR_RPC_UPLOAD_SPOOLS_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "coordinator/coordinator.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

// One upload as far as it has arrived. Not thread-safe.
class UploadSpool {
 public:
  // What can be said of a header without knowing the run. InvalidArgument.
  static absl::Status CheckHeader(const v1::UploadHeader& header);

  // What a complete spool has gathered: `bytes`, or the file of `place`, which is to be finished.
  struct Content {
    std::string bytes;
    std::unique_ptr<UploadPlace> place;
  };

  // Memory that is set aside before anything has arrived; or for all of it, if that is less.
  static constexpr uint64_t kFirstReserve = uint64_t{1} << 20;

  // `header` has passed CheckHeader. Without a place, sets memory aside as it arrives: never for more than twice of that, beyond
  // kFirstReserve. What is only announced costs nothing.
  explicit UploadSpool(const v1::UploadHeader& header, std::unique_ptr<UploadPlace> place = nullptr);

  const v1::UploadHeader& header() const { return header_; }
  uint64_t received_bytes() const { return received_; }
  bool complete() const { return received_ == header_.total_bytes(); }
  // Set aside by now.
  uint64_t memory_bytes() const { return reserved_; }
  // How much more is to be set aside before a frame with so many bytes of data can be appended; and that, done.
  uint64_t MoreFor(uint64_t data_bytes) const;
  void Reserve(uint64_t more);

  // The next frame. After an error the spool is as it was: what came before stays, to be resumed. OutOfRange: not at received_bytes().
  // DataLoss: fails its checksum. InvalidArgument: empty, too long, or more than the header announced. Errors of the file's
  // storage, after which the spool is of no further use.
  absl::Status Append(const v1::UploadFrame& frame);

  // Of a complete spool. DataLoss: it is not what the header names.
  absl::StatusOr<Content> TakeContent() &&;

 private:
  const v1::UploadHeader header_;
  std::unique_ptr<UploadPlace> place_;
  std::string payload_;  // without a place
  uint64_t reserved_ = 0;
  uint64_t received_ = 0;
  Sha256Hasher hasher_;  // over what was received
};

// The spools of all sites: at most one each, and so many bytes in all. A site's newest stream has its spool; when the stream breaks off,
// the spool stays for a later one to resume, until somebody else needs the room or nobody has come for too long. A stream that finds no
// room waits in a queue, before its first byte or between two frames. The one of which most has arrived never waits: so there is always
// one that comes to its end and makes room.
//
// Not thread-safe. Time is an argument: any monotonic clock, the same in all calls.
class UploadSpools {
 public:
  // A stream of a site, by a number that its owner chose and uses once.
  using Stream = uint64_t;

  // Defaults: TransferService::Options.
  struct Options {
    // What the spools in memory may take, all together, with what is on its way to the coordinator; beyond it goes only the one of which
    // most has arrived.
    uint64_t max_bytes = 0;
    // A spool without a stream is dropped after so long.
    absl::Duration max_idle;
  };

  struct Admission {
    // Where the frames go, until Release or TakeOut; the resumed one, if this upload was begun before. Null: no room now, the stream waits.
    UploadSpool* spool = nullptr;
    // An older stream of the same site that has lost its spool or its place in the queue: end it.
    std::optional<Stream> replaced;
  };
  struct Admitted {
    Stream stream = 0;
    UploadSpool* spool = nullptr;
  };

  explicit UploadSpools(const Options& options) : options_(options) {}

  // A stream asks for the spool of this upload. Another upload of the same site gives way; where room is needed, so do spools without a
  // stream, the longest idle first.
  // `place` is for a spool that is begun.
  Admission Admit(Stream stream, const std::string& site, const v1::UploadHeader& header, std::unique_ptr<UploadPlace> place = nullptr);
  // Those of the queue that there is room for now, in the order in which they came. One that is too large keeps nobody behind it waiting.
  // Call it after whatever may have made room: TakeOut, Answered, DropIdle.
  std::vector<Admitted> AdmitWaiting();
  bool IsWaiting(Stream stream) const;
  // Whether the stream's spool has room for so many bytes more. If not, the stream waits like those of the queue.
  bool HasRoom(Stream stream, uint64_t data_bytes);

  // The stream has ended: its spool may be resumed, and it waits no longer. No effect on one that has neither.
  void Release(Stream stream, absl::Time now);
  // What the stream's complete spool has gathered; the spool is then gone. Its bytes count until Answered. DataLoss: it is not what the
  // header names, and nothing is left of it.
  absl::StatusOr<UploadSpool::Content> TakeOut(Stream stream);
  // The stream's spool can no longer be written: nothing is left of it.
  void Discard(Stream stream);
  // Whether a file that TakeOut gave has no answer yet.
  bool IsSettling(const std::string& site) const;
  // The coordinator's answer to what TakeOut gave. OK: the upload is remembered as the newest of its site that is complete.
  void Answered(Stream stream, const absl::Status& answer);

  // Drops the spools that have been without a stream for too long; returns their sites.
  std::vector<std::string> DropIdle(absl::Time now);

  // How far this upload of the site has come; 0 bytes, if nothing is known of it.
  v1::UploadProgress Progress(const std::string& site, const v1::UploadId& id) const;
  uint64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    Entry(const v1::UploadHeader& header, std::unique_ptr<UploadPlace> place) : spool(header, std::move(place)) {}
    UploadSpool spool;
    std::optional<Stream> stream;                    // that fills it
    absl::Time idle_since = absl::InfiniteFuture();  // without one
  };
  struct Waiting {
    Stream stream = 0;
    std::string site;
    v1::UploadHeader header;
  };
  struct TakenOut {
    std::string site;
    v1::UploadId id;
    uint64_t bytes = 0;  // in memory
    bool in_file = false;
  };

  using Entries = std::map<std::string, std::unique_ptr<Entry>>;
  Entries::iterator Find(Stream stream);
  struct Growing {
    Stream stream = 0;
    uint64_t data_bytes = 0;
  };
  // Whether `bytes` more fit, after dropping idle spools if need be.
  bool MakeRoom(uint64_t bytes);
  bool Grow(Entry& entry, uint64_t data_bytes);
  bool IsFurthest(const Entry& entry) const;
  UploadSpool* Make(Stream stream, const std::string& site, const v1::UploadHeader& header, std::unique_ptr<UploadPlace> place);
  void Drop(Entries::iterator entry);

  const Options options_;
  Entries entries_;                               // by site
  std::map<Stream, TakenOut> taken_out_;          // and not settled
  std::map<std::string, v1::UploadId> complete_;  // by site: the newest that the coordinator took
  std::deque<Waiting> waiting_;
  std::deque<Growing> growing_;  // wait between two frames
  uint64_t bytes_ = 0;           // set aside by entries_ and taken_out_
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_UPLOAD_SPOOLS_H_
