// The network of a simulation: sessions and transfers between sites and the coordinator, with what goes wrong on the way.
//
// Messages are encoded and decoded, so that what is counted is what would travel. Within a stream order holds, as it does in TCP: what is
// lost, late or damaged there shows as delay or as a broken stream. Across streams nothing is promised.
#ifndef TRIBUTARY_SIM_NETWORK_H_
#define TRIBUTARY_SIM_NETWORK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "coordinator/coordinator.h"
#include "sim/sim_coordinator.h"
#include "sim/world.h"

namespace tributary::sim {

// What the network tells a site's worker.
class SitePort {
 public:
  virtual ~SitePort() = default;
  virtual void OnMessage(uint64_t session, v1::CoordinatorMessage message) = 0;
  virtual void OnClosed(uint64_t session, const absl::Status& status) = 0;
  virtual void OnDownloaded(uint64_t transfer, absl::StatusOr<std::string> bytes, uint64_t arrived) = 0;
  virtual void OnUploaded(uint64_t transfer, const absl::Status& status, uint64_t arrived) = 0;
  // For so long it takes nothing in.
  virtual absl::Duration FrozenFor() const = 0;
};

struct NetworkConditions {
  absl::Duration min_latency = absl::Milliseconds(5);
  absl::Duration max_latency = absl::Milliseconds(20);
  // Chances for each message of a session and each frame of a transfer.
  double breaks = 0;
  double corrupts = 0;
  double stalls = 0;            // retransmission: seconds of delay
  double repeats_uploads = 0;   // of a complete upload: the coordinator gets it again
  uint64_t frame_bytes = 1024;  // data in one frame of a transfer
};

// Whether the other ends of a process's connections learn of its death, or have to find out.
enum class Death { kNoticed, kSilent };

// Not thread-safe.
class Network {
 public:
  Network(World* world, SimCoordinator* coordinator) : world_(world), coordinator_(coordinator) {}

  void Attach(int site, const std::string& name, SitePort* port) {
    sites_[site].name = name;
    sites_[site].port = port;
  }
  NetworkConditions conditions;
  // Changes what is sent to a site, if set: for planted defects.
  std::function<void(v1::CoordinatorMessage& message)> tamper;

  // The worker's end.
  // `worker_secret`: as in coordinator::SessionOrigin.
  void OpenSession(int site, uint64_t session, const std::string& worker_secret);
  void CloseSession(int site, uint64_t session);
  void Send(int site, uint64_t session, const v1::WorkerMessage& message);
  void Upload(int site, uint64_t transfer, const v1::UploadHeader& header, std::shared_ptr<const std::string> payload);
  void Download(int site, uint64_t transfer, const v1::DownloadRequest& request, uint64_t max_bytes);
  void CancelTransfer(int site, uint64_t transfer);

  // What happens to it.
  // Its process is gone.
  void WorkerDied(int site, Death death);
  void CoordinatorDied(Death death);
  // Nothing passes to or from the site for so long; what is sent meanwhile arrives after that.
  void Partition(int site, absl::Duration time);
  // The site's newest stream breaks.
  void BreakSession(int site);
  int sites() const { return static_cast<int>(sites_.size()); }

 private:
  struct Stream;
  struct Transfer;
  struct Parcel;
  struct Frame;
  struct Site {
    std::string name;
    SitePort* port = nullptr;
    absl::Time partition_end = absl::InfinitePast();
    std::vector<std::shared_ptr<Stream>> streams;  // not over at both ends
    std::map<uint64_t, std::shared_ptr<Transfer>> transfers;
    // Of a download that broke off; gone with the worker's process.
    std::string partial_request;
    std::string partial_bytes;
    uint64_t partial_total = 0;
  };

  // Until something sent now arrives.
  absl::Duration Delay(int site);
  void Queue(const std::shared_ptr<Stream>& stream, Parcel parcel, ByteDirection direction);
  void ArriveUp(const std::shared_ptr<Stream>& stream);
  void ArriveDown(const std::shared_ptr<Stream>& stream);
  void Break(const std::shared_ptr<Stream>& stream, const char* why);
  void EndAtWorker(const std::shared_ptr<Stream>& stream, const absl::Status& status);
  void EndAtCoordinator(const std::shared_ptr<Stream>& stream);
  std::shared_ptr<Stream> Find(int site, uint64_t session);
  void Forget();
  // Runs `work` when the site takes things in.
  void ToSite(int site, const char* what, absl::Duration delay, std::function<void()> work);

  void AskProgress(const std::shared_ptr<Transfer>& transfer);
  void SendFrame(const std::shared_ptr<Transfer>& transfer);
  void FrameArrives(const std::shared_ptr<Transfer>& transfer, const Frame& frame);
  // Whether the upload is complete with it.
  absl::StatusOr<bool> TakeFrame(Transfer& transfer, const Frame& frame);
  void OpenDownload(const std::shared_ptr<Transfer>& transfer);
  void NextDownloadFrame(const std::shared_ptr<Transfer>& transfer);
  void EndTransfer(const std::shared_ptr<Transfer>& transfer, const absl::Status& status, absl::Duration delay);
  bool Reaches(const Transfer& transfer) const;

  World* const world_;
  SimCoordinator* const coordinator_;
  std::map<int, Site> sites_;
  // The last message encoded, which a broadcast sends again.
  std::shared_ptr<const v1::CoordinatorMessage> encoded_message_;
  std::shared_ptr<const std::string> encoded_;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_NETWORK_H_
