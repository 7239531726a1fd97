#include "coordinator/guard/guard.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock.h"
#include "common/cpu_limits.h"
#include "common/excerpt.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr int kMostThreads = 4;
// Of the process's descriptors: for the journal, snapshots, spools, pages and libraries, and for the health port.
constexpr size_t kReservedDescriptors = 512;
// A connection's socket and the two ends of its pair.
constexpr size_t kDescriptorsOfConnection = 3;
constexpr size_t kFewestConnections = 16;
// A stranger's: enough to make a call and to be told why not.
constexpr uint64_t kBytesOfStranger = 64 << 10;
constexpr absl::Duration kTimeOfStranger = absl::Seconds(15);
constexpr size_t kConnectionsOfStranger = 4;
// Of all strangers together.
constexpr size_t kStrangers = 64;
// Those whose place is another's already, and who are not gone yet.
constexpr size_t kClosingAtOnce = 16;
// Of one who was a member: enough for its streams to be ended with a status.
constexpr absl::Duration kFarewell = absl::Milliseconds(500);

size_t ConnectionsFor(const Guard::Options& options) {
  if (options.connections > 0) {
    return options.connections;
  }
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const size_t taken = kReservedDescriptors + Door::kHandshakes;
  const size_t free = limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
  return std::max(kFewestConnections, free / kDescriptorsOfConnection);
}

// glibc keeps what was freed, for it lies scattered: a flood of calls leaves the process three times as large. gRPC frees the last of it
// only after the connection is gone, so it is given back twice.
constexpr absl::Duration kBetweenTidyings = absl::Seconds(2);
constexpr int kTidyings = 2;

absl::Status Crowded(size_t count, absl::string_view of) {
  return absl::ResourceExhaustedError(absl::StrCat("there are ", count, " connections ", of, " already"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Guard>> Guard::Start(const std::string& listen, Options options) {
  TRIBUTARY_ASSIGN_OR_RETURN(Listeners listeners, Listen(listen));
  auto guard = absl::WrapUnique(new Guard(std::move(listeners), std::move(options)));
  const int threads = std::clamp(UsableCores(), 1, kMostThreads);
  for (int i = 0; i < threads; ++i) {
    TRIBUTARY_ASSIGN_OR_RETURN(
        std::unique_ptr<BridgeLoop> loop,
        BridgeLoop::Start([guard = guard.get()](uint64_t number, const absl::Status& why) { guard->Gone(number, why); }));
    guard->loops_.push_back(std::move(loop));
  }
  return guard;
}

Guard::Guard(Listeners listeners, Options options)
    : options_(std::move(options)), most_(ConnectionsFor(options_)), listeners_(std::move(listeners)), port_(listeners_.port) {}

Guard::~Guard() {
  StopAdmitting();
  loops_.clear();
}

absl::Status Guard::Admit(Belongs belonging, HandOver hand_over, Yields yields) {
  belongs_ = std::move(belonging);
  hand_over_ = std::move(hand_over);
  yields_ = std::move(yields);
  TRIBUTARY_ASSIGN_OR_RETURN(door_, Door::Open(std::move(listeners_), options_.certificates, options_.proof,
                                               {.came_in = [this](Door::Guest guest) { CameIn(std::move(guest)); },
                                                .turned_away =
                                                    [this](const std::string& address, const absl::Status& why) {
                                                      Refused(ConnectionRefusal::kHandshake, Peer{0, address, {}, {}}, why.message());
                                                    },
                                                .ticked = [this](absl::Time now) { Tidy(now); }}));
  return absl::OkStatus();
}

void Guard::StopAdmitting() {
  if (door_ != nullptr) {
    door_->Shut();
  }
}

void Guard::AwaitEmpty(absl::Duration time) {
  std::unique_lock<std::mutex> lock(mutex_);
  emptied_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return open_.empty(); });
}

Belonging Guard::BelongingOf(const Peer& peer) const {
  return belongs_ == nullptr ? Belonging::kMember : belongs_(peer);
}

BridgeLoop::Allowance Guard::AllowanceOf(const Peer& peer, Belonging belonging) const {
  const absl::Time now = Clock::Real().Now();
  BridgeLoop::Allowance allowance = {now + options_.lifetime, peer.validity.end, UINT64_MAX};
  if (belonging == Belonging::kStranger) {
    allowance.until = std::min(allowance.until, now + kTimeOfStranger);
    allowance.bytes_up = kBytesOfStranger;
  }
  return allowance;
}

void Guard::CloseFor(uint64_t number, Open& connection, absl::string_view why) {
  connection.closing = true;
  connection.loop->Close(number, absl::ResourceExhaustedError(absl::StrCat("its place was needed: too many connections", why)));
}

absl::Status Guard::MakeRoomAmongNamesakes(const Peer& peer, size_t most) {
  const auto found = with_uris_.find(peer.uris);
  if (options_.certificates == nullptr || found == with_uris_.end() || found->second.connections < most) {
    return absl::OkStatus();
  }
  // Who fills all places of a stolen key with connections that do nothing must not keep its owner out.
  const auto oldest = std::find_if(open_.begin(), open_.end(), [&](const auto& entry) {
    return !entry.second.closing && entry.second.peer.uris == peer.uris && yields_ != nullptr && yields_(entry.second.peer);
  });
  if (oldest == open_.end() || found->second.connections >= most + kClosingAtOnce) {
    return Crowded(found->second.connections, "with this certificate's names");
  }
  CloseFor(oldest->first, oldest->second, " with this certificate's names");
  return absl::OkStatus();
}

absl::Status Guard::MakeRoom(const Peer& peer, Belonging belonging) {
  if (belonging == Belonging::kStranger) {
    const auto strangers = static_cast<size_t>(
        std::count_if(open_.begin(), open_.end(), [](const auto& entry) { return entry.second.belonging == Belonging::kStranger; }));
    if (strangers >= kStrangers) {
      return Crowded(strangers, "of those who are not on the lists");
    }
  }
  TRIBUTARY_RETURN_IF_ERROR(
      MakeRoomAmongNamesakes(peer, belonging == Belonging::kStranger ? kConnectionsOfStranger : options_.connections_of_identity));
  if (open_.size() < most_) {
    return absl::OkStatus();
  }
  if (options_.full == Full::kCloseNew || open_.size() >= most_ + kClosingAtOnce) {
    return Crowded(open_.size(), "in all");
  }
  for (auto& [number, connection] : open_) {
    if (!connection.closing) {
      CloseFor(number, connection, "");
      break;
    }
  }
  return absl::OkStatus();
}

const Guard::Namesakes& Guard::TakePlace(const Peer& peer) {
  Namesakes& namesakes = with_uris_[peer.uris];
  ++namesakes.connections;
  if (namesakes.messages == nullptr || options_.certificates == nullptr) {
    namesakes.messages = std::make_shared<MessageBudget>(&message_bytes_, options_.message_bytes_of_identity);
    namesakes.streams = std::make_shared<StreamBudget>();
  }
  return namesakes;
}

void Guard::CameIn(Door::Guest guest) {
  Peer peer = {0,
               std::move(guest.address),
               std::move(guest.certificate.uris),
               guest.certificate.validity,
               std::move(guest.certificate.issuers),
               std::move(guest.certificate.certificates)};
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
    Refused(ConnectionRefusal::kCrowded, peer, std::strerror(errno));
    return;
  }
  OwnedDescriptor inner(pair[0]);
  OwnedDescriptor for_grpc(pair[1]);
  absl::Status room;
  {
    // Whether it belongs is asked, and the loop told, in the same moment in which Review begins to see it.
    const std::lock_guard<std::mutex> lock(mutex_);
    const Belonging belonging = BelongingOf(peer);
    room = MakeRoom(peer, belonging);
    if (room.ok()) {
      peer.connection = ++last_number_;
      BridgeLoop* const loop = loops_[peer.connection % loops_.size()].get();
      open_[peer.connection] = {peer, belonging, loop, for_grpc.get()};
      peers_.Insert(for_grpc.get(), peer);
      options_.metrics->ConnectionOpened();
      const Namesakes& namesakes = TakePlace(peer);
      auto bridge =
          std::make_unique<Bridge>(std::move(guest.socket), std::move(guest.ssl), std::move(inner), namesakes.messages, namesakes.streams);
      loop->Add(peer.connection, std::move(bridge), AllowanceOf(peer, belonging));
    }
  }
  if (room.ok()) {
    hand_over_(for_grpc.Release());
  } else {
    Refused(ConnectionRefusal::kCrowded, peer, room.message());
  }
}

void Guard::Gone(uint64_t number, const absl::Status& why) {
  Open gone;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = open_.find(number);
    gone = std::move(found->second);
    peers_.Erase(gone.inner_of_grpc, number);
    open_.erase(found);
    const auto with_uris = with_uris_.find(gone.peer.uris);
    if (--with_uris->second.connections == 0) {
      with_uris->second.left = Clock::Real().Now();
    }
    options_.metrics->ConnectionClosed();
    emptied_.notify_all();
  }
  if (absl::IsUnauthenticated(why)) {
    Refused(ConnectionRefusal::kExpired, gone.peer, why.message());
  } else if (gone.closing) {
    Refused(ConnectionRefusal::kCrowded, gone.peer, why.message());
  } else if (gone.belonging == Belonging::kStranger && (absl::IsResourceExhausted(why) || absl::IsDeadlineExceeded(why))) {
    Refused(ConnectionRefusal::kStranger, gone.peer, why.message());
  } else if (absl::IsInvalidArgument(why) || absl::IsResourceExhausted(why)) {
    Refused(ConnectionRefusal::kFrames, gone.peer, why.message());
  }
}

void Guard::Review() {
  std::vector<std::pair<uint64_t, Peer>> all;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [number, connection] : open_) {
      all.emplace_back(number, connection.peer);
    }
  }
  for (const auto& [number, peer] : all) {
    const Belonging belonging = BelongingOf(peer);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = open_.find(number);
    if (found == open_.end() || found->second.belonging == belonging) {
      continue;
    }
    found->second.belonging = belonging;
    BridgeLoop::Allowance allowance = AllowanceOf(peer, belonging);
    if (belonging == Belonging::kStranger) {
      // What it sent as a member does not count against it, and it is told why on what is open.
      allowance.until = std::min(allowance.until, Clock::Real().Now() + kFarewell);
      allowance.bytes_up = UINT64_MAX;
    }
    found->second.loop->Allow(number, allowance);
  }
}

void Guard::Tidy(absl::Time now) {
  {
    // Who comes back before its streams' budget is full again finds it as it was.
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(with_uris_,
                  [now](const auto& entry) { return entry.second.connections == 0 && now - entry.second.left >= StreamBudget::kRefill; });
  }
  if (tidyings_due_ > 0 && now - tidied_ >= kBetweenTidyings) {
    --tidyings_due_;
    tidied_ = now;
    malloc_trim(0);
  }
}

void Guard::Refused(ConnectionRefusal reason, const Peer& peer, absl::string_view why) {
  options_.metrics->CountConnectionRefused(reason);
  tidyings_due_ = kTidyings;
  const std::string host = peer.address.substr(0, peer.address.rfind(':'));
  const std::string who = peer.uris.empty() ? host : absl::StrCat(Excerpt(absl::StrJoin(peer.uris, ", ")), " from ", host);
  std::optional<std::string> left_out;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    left_out = lines_[reason].Tell(absl::StrCat(who, why), Clock::Real().Now());
  }
  if (left_out.has_value()) {
    LogWarning("guard", options_.name, ": turned away ", who, ": ", why, *left_out);
  }
}

}  // namespace tributary::coordinator
