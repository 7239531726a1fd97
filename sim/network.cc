// Sessions. Transfers: network_transfers.cc.
#include "sim/network.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/wire_size.h"
#include "sim/network_parts.h"
#include "sim/recording.h"

namespace tributary::sim {
namespace {

const char* NameOf(const v1::WorkerMessage& message) {
  const auto* const field = message.GetDescriptor()->FindFieldByNumber(message.body_case());
  return field == nullptr ? "nothing" : field->name().c_str();
}
const char* NameOf(const v1::CoordinatorMessage& message) {
  const auto* const field = message.GetDescriptor()->FindFieldByNumber(message.body_case());
  return field == nullptr ? "nothing" : field->name().c_str();
}

}  // namespace

absl::Duration Network::Delay(int site) {
  const absl::Duration latency = world_->random.Between(conditions.min_latency, conditions.max_latency);
  const absl::Duration partition = std::max(absl::ZeroDuration(), sites_.at(site).partition_end - world_->Now());
  if (conditions.stalls > 0 && world_->random.Chance(conditions.stalls)) {
    world_->CountFault("delayed messages");
    return partition + latency + world_->random.Between(absl::Milliseconds(200), absl::Seconds(5));
  }
  return partition + latency;
}

void Network::ToSite(int site, const char* what, absl::Duration delay, std::function<void()> work) {
  world_->After(delay, what, site, [this, site, what, work = std::move(work)]() mutable {
    const absl::Duration frozen = sites_.at(site).port->FrozenFor();
    if (frozen > absl::ZeroDuration()) {
      ToSite(site, what, frozen, std::move(work));
    } else {
      work();
    }
  });
}

// As the coordinator's record calls it.
std::string Network::Stream::Name() const {
  return absl::StrCat(network->sites_.at(site).name, "/", number);
}

void Network::Stream::Send(std::shared_ptr<const v1::CoordinatorMessage> message) {
  if (closing || !network->coordinator_->breathes()) {
    return;
  }
  network->world_->Record("coordinator", [&] { return absl::StrCat(Name(), " says ", RecordedJson(*message)); });
  if (cut) {
    return;
  }
  if (message != network->encoded_message_) {
    network->encoded_ = std::make_shared<const std::string>(message->SerializeAsString());
    network->encoded_message_ = message;
  }
  if (network->world_->tracing) {
    network->world_->Trace(
        -1, absl::StrCat("-> site-", site, "/", number, " ", NameOf(*message), " ", message->ShortDebugString().substr(0, 160)));
  }
  const auto kind = message->has_commit() ? ByteKind::kCommit : ByteKind::kControl;
  network->coordinator_->get()->CountBytes(network->sites_.at(site).name, ByteDirection::kDown, kind, WireSize(network->encoded_->size()));
  network->Queue(shared_from_this(), Parcel{Parcel::Kind::kMessage, network->encoded_, {}}, ByteDirection::kDown);
}

void Network::Stream::Close(const absl::Status& status) {
  if (closing || !network->coordinator_->breathes()) {
    return;
  }
  closing = true;
  network->world_->Record("coordinator", [&] { return absl::StrCat(Name(), " closes ", CodeName(status)); });
  network->Queue(shared_from_this(), Parcel{Parcel::Kind::kEnd, nullptr, status}, ByteDirection::kDown);
  network->world_->After(network->Delay(site), "session is closed", site,
                         [stream = shared_from_this()] { stream->network->EndAtCoordinator(stream); });
}

void Network::Queue(const std::shared_ptr<Stream>& stream, Parcel parcel, ByteDirection direction) {
  if (stream->cut) {
    return;
  }
  if (parcel.bytes != nullptr) {
    world_->Mix(Crc32c(*parcel.bytes));
  }
  if (conditions.breaks > 0 && world_->random.Chance(conditions.breaks)) {
    world_->CountFault("broken sessions");
    return Break(stream, "the connection broke");
  }
  if (conditions.corrupts > 0 && world_->random.Chance(conditions.corrupts)) {
    world_->CountFault("corrupted records");
    return Break(stream, "a record failed its authentication");
  }
  const bool up = direction == ByteDirection::kUp;
  absl::Time& last = up ? stream->last_up : stream->last_down;
  last = std::max(last, world_->Now() + Delay(stream->site));
  if (up) {
    stream->up.push_back(std::move(parcel));
    world_->After(last - world_->Now(), "message up", stream->site, [this, stream] { ArriveUp(stream); });
  } else {
    stream->down.push_back(std::move(parcel));
    ToSite(stream->site, "message down", last - world_->Now(), [this, stream] { ArriveDown(stream); });
  }
}

void Network::ArriveUp(const std::shared_ptr<Stream>& stream) {
  const Parcel parcel = std::move(stream->up.front());
  stream->up.pop_front();
  if (stream->cut) {
    return;
  }
  const std::string& name = sites_.at(stream->site).name;
  switch (parcel.kind) {
    case Parcel::Kind::kOpen:
      if (!coordinator_->up() || coordinator_->refuses_sessions()) {
        stream->cut = true;
        ToSite(stream->site, "session refused", Delay(stream->site),
               [this, stream] { EndAtWorker(stream, absl::UnavailableError("connection refused")); });
        return;
      }
      stream->life = coordinator_->life();
      stream->coordinator_open = true;
      world_->Record("coordinator", [&] { return absl::StrCat(stream->Name(), " opens"); });
      coordinator_->Call([&](coordinator::Coordinator& coordinator) { coordinator.SessionOpened(name, stream.get(), stream->origin); });
      return;
    case Parcel::Kind::kMessage: {
      if (!stream->coordinator_open || stream->closing || stream->life != coordinator_->life() || !coordinator_->up()) {
        return;
      }
      v1::WorkerMessage message;
      if (!message.ParseFromString(*parcel.bytes)) {
        world_->Violate("messages survive encoding", name);
        return;
      }
      world_->Record("coordinator", [&] { return absl::StrCat(stream->Name(), " hears ", RecordedJson(message)); });
      coordinator_->Call([&](coordinator::Coordinator& coordinator) {
        coordinator.MessageReceived(name, stream.get(), std::move(message), WireSize(parcel.bytes->size()));
      });
      return;
    }
    case Parcel::Kind::kEnd:
      EndAtCoordinator(stream);
      return;
  }
}

void Network::ArriveDown(const std::shared_ptr<Stream>& stream) {
  const Parcel parcel = std::move(stream->down.front());
  stream->down.pop_front();
  if (stream->cut || !stream->worker_open) {
    return;
  }
  if (parcel.kind == Parcel::Kind::kEnd) {
    EndAtWorker(stream, parcel.status);
    return;
  }
  v1::CoordinatorMessage message;
  if (!message.ParseFromString(*parcel.bytes)) {
    world_->Violate("messages survive encoding", sites_.at(stream->site).name);
    return;
  }
  if (tamper) {
    tamper(message);
  }
  world_->Record(sites_.at(stream->site).name, [&] { return absl::StrCat(stream->number, " hears ", RecordedJson(message)); });
  sites_.at(stream->site).port->OnMessage(stream->number, std::move(message));
}

void Network::EndAtWorker(const std::shared_ptr<Stream>& stream, const absl::Status& status) {
  if (!std::exchange(stream->worker_open, false)) {
    return;
  }
  const absl::Status told = status.ok() ? absl::UnavailableError("the coordinator closed the session") : status;
  world_->Record(sites_.at(stream->site).name, [&] { return absl::StrCat(stream->number, " ended ", CodeName(told)); });
  sites_.at(stream->site).port->OnClosed(stream->number, told);
  Forget();
}

void Network::EndAtCoordinator(const std::shared_ptr<Stream>& stream) {
  if (!stream->coordinator_open || stream->life != coordinator_->life() || !coordinator_->up()) {
    return;
  }
  stream->coordinator_open = false;
  stream->closing = true;
  world_->Record("coordinator", [&] { return absl::StrCat(stream->Name(), " ended"); });
  coordinator_->Call([&](coordinator::Coordinator& coordinator) { coordinator.SessionClosed(sites_.at(stream->site).name, stream.get()); });
  Forget();
}

// Both ends learn of it after a while; the coordinator sometimes only by the lease.
void Network::Break(const std::shared_ptr<Stream>& stream, const char* why) {
  if (std::exchange(stream->cut, true)) {
    return;
  }
  if (world_->tracing) {
    world_->Trace(stream->site, absl::StrCat("session ", stream->number, ": ", why));
  }
  ToSite(stream->site, "session broke", world_->random.Between(absl::Milliseconds(10), absl::Seconds(3)),
         [this, stream, why] { EndAtWorker(stream, absl::UnavailableError(why)); });
  if (world_->random.Chance(0.7)) {
    world_->After(world_->random.Between(absl::Milliseconds(10), absl::Seconds(6)), "session broke", stream->site,
                  [this, stream] { EndAtCoordinator(stream); });
  }
}

std::shared_ptr<Network::Stream> Network::Find(int site, uint64_t session) {
  for (const std::shared_ptr<Stream>& stream : sites_.at(site).streams) {
    if (stream->number == session && stream->worker_open) {
      return stream;
    }
  }
  return nullptr;
}

void Network::Forget() {
  for (auto& [number, site] : sites_) {
    std::erase_if(site.streams, [](const std::shared_ptr<Stream>& stream) { return !stream->worker_open && !stream->coordinator_open; });
  }
}

void Network::OpenSession(int site, uint64_t session, const std::string& worker_secret) {
  auto stream = std::make_shared<Stream>();
  stream->origin = {absl::StrCat("10.0.", site / 256, ".", site % 256, ":", session), worker_secret};
  stream->network = this;
  stream->site = site;
  stream->number = session;
  sites_.at(site).streams.push_back(stream);
  world_->Record(sites_.at(site).name, [&] { return absl::StrCat(session, " opens"); });
  Queue(stream, Parcel{Parcel::Kind::kOpen, nullptr, {}}, ByteDirection::kUp);
}

void Network::Send(int site, uint64_t session, const v1::WorkerMessage& message) {
  const std::shared_ptr<Stream> stream = Find(site, session);
  if (world_->tracing) {
    world_->Trace(site, absl::StrCat("<- ", session, " ", NameOf(message), stream == nullptr || stream->cut ? " (cut) " : " ",
                                     message.ShortDebugString().substr(0, 120)));
  }
  if (stream != nullptr) {
    world_->Record(sites_.at(site).name, [&] { return absl::StrCat(session, " says ", RecordedJson(message)); });
    Queue(stream, Parcel{Parcel::Kind::kMessage, std::make_shared<const std::string>(message.SerializeAsString()), {}}, ByteDirection::kUp);
  }
}

void Network::CloseSession(int site, uint64_t session) {
  if (const std::shared_ptr<Stream> stream = Find(site, session); stream != nullptr) {
    world_->Record(sites_.at(site).name, [&] { return absl::StrCat(session, " closes"); });
    // What was sent before still arrives.
    Queue(stream, Parcel{Parcel::Kind::kEnd, nullptr, {}}, ByteDirection::kUp);
    stream->worker_open = false;
    Forget();
  }
}

void Network::WorkerDied(int site, Death death) {
  Site& place = sites_.at(site);
  for (const std::shared_ptr<Stream>& stream : std::vector<std::shared_ptr<Stream>>(place.streams)) {
    if (stream->worker_open) {
      stream->worker_open = false;
      if (death == Death::kSilent) {
        stream->cut = true;
      } else {
        Queue(stream, Parcel{Parcel::Kind::kEnd, nullptr, {}}, ByteDirection::kUp);
      }
    }
  }
  for (const auto& [number, transfer] : place.transfers) {
    transfer->over = true;
  }
  place.transfers.clear();
  place.partial_request.clear();
  place.partial_bytes.clear();
  Forget();
}

void Network::CoordinatorDied(Death death) {
  for (auto& [number, site] : sites_) {
    for (const std::shared_ptr<Stream>& stream : site.streams) {
      // One whose opening is still on its way will find the next process.
      if (stream->coordinator_open) {
        stream->coordinator_open = false;
        stream->cut = true;
        if (death == Death::kNoticed) {
          ToSite(number, "coordinator is gone", Delay(number),
                 [this, stream] { EndAtWorker(stream, absl::UnavailableError("the connection was reset")); });
        }
      }
    }
  }
  Forget();
}

void Network::Partition(int site, absl::Duration time) {
  sites_.at(site).partition_end = std::max(sites_.at(site).partition_end, world_->Now() + time);
}

void Network::BreakSession(int site) {
  Site& place = sites_.at(site);
  if (!place.streams.empty()) {
    Break(place.streams.back(), "the connection broke");
  }
}

}  // namespace tributary::sim
