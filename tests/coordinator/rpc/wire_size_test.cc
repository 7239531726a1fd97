#include "common/wire_size.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

TEST(WireSizeTest, AddsPrefixFramesRecordsAndWindowUpdates) {
  EXPECT_EQ(WireSize(0), 5U + 9U + 22U + 26U);
  EXPECT_EQ(WireSize(100), 105U + 9U + 22U + 26U);
  // 16,379 bytes and the prefix fill one HTTP/2 frame; with its header they need two TLS records.
  EXPECT_EQ(WireSize(16379), 16384U + 9U + 2 * 22U + 26U);
  EXPECT_EQ(WireSize(16380), 16385U + 2 * 9U + 2 * 22U + 26U);
}

// Passes TCP connections on to another port and counts what goes through: the bytes at the socket.
class CountingProxy {
 public:
  explicit CountingProxy(int target_port) : target_port_(target_port) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    socklen_t length = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~CountingProxy() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (const int connection : connections_) {
      shutdown(connection, SHUT_RDWR);
    }
    for (std::thread& pump : pumps_) {
      pump.join();
    }
    for (const int connection : connections_) {
      close(connection);
    }
    close(listener_);
  }

  int port() const { return port_; }
  uint64_t up() const { return up_; }
  uint64_t down() const { return down_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Accept() {
    for (int client = accept(listener_, nullptr, nullptr); client >= 0; client = accept(listener_, nullptr, nullptr)) {
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = Loopback(target_port_);
      EXPECT_EQ(connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      const int on = 1;
      setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      connections_.push_back(client);
      connections_.push_back(server);
      pumps_.emplace_back([this, client, server] { Pump(client, server, up_); });
      pumps_.emplace_back([this, client, server] { Pump(server, client, down_); });
    }
  }

  static void Pump(int from, int to, std::atomic<uint64_t>& count) {
    std::array<char, 65536> buffer;
    for (ssize_t got = read(from, buffer.data(), buffer.size()); got > 0; got = read(from, buffer.data(), buffer.size())) {
      count += static_cast<uint64_t>(got);
      for (ssize_t sent = 0; sent < got;) {
        const ssize_t wrote = send(to, buffer.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
        if (wrote <= 0) {
          return;
        }
        sent += wrote;
      }
    }
    shutdown(to, SHUT_WR);
  }

  const int target_port_;
  int listener_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  std::vector<int> connections_;
  std::vector<std::thread> pumps_;
  std::atomic<uint64_t> up_{0};
  std::atomic<uint64_t> down_{0};
};

class WireSizeOnASocketTest : public RpcTest {
 protected:
  struct Moved {
    double up_counted = 0, up_at_socket = 0, down_counted = 0, down_at_socket = 0;
  };

  // A round trip of `count` updates and commits of this many bytes each over one session, one after the other as in rounds.
  Moved Exchange(size_t bytes, int count) {
    StartServer();
    CountingProxy proxy(server_->port());
    const auto stub = v1::SessionService::NewStub(ChannelAs("site-berlin", proxy.port()));
    grpc::ClientContext context;
    Bound(context);
    const auto stream = stub->Open(&context);
    const auto commit = std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(bytes));
    coordinator_.With([&](RecordingCoordinator& recorded) {
      recorded.on_message = [commit](SessionSink* session, const v1::WorkerMessage&) { session->Send(commit); };
      return 0;
    });
    v1::WorkerMessage update;
    update.mutable_update()->set_payload(std::string(bytes, 'u'));
    v1::CoordinatorMessage received;
    const auto exchange = [&] {
      EXPECT_TRUE(stream->Write(update));
      EXPECT_TRUE(stream->Read(&received));
    };
    // The handshake, the settings and the call's headers are not of the messages.
    exchange();
    const uint64_t up = proxy.up(), down = proxy.down();
    for (int i = 0; i < count; ++i) {
      exchange();
    }
    Moved moved;
    moved.up_at_socket = static_cast<double>(proxy.up() - up);
    moved.down_at_socket = static_cast<double>(proxy.down() - down);
    moved.up_counted = static_cast<double>(count) * static_cast<double>(WireSize(update.ByteSizeLong()));
    moved.down_counted = static_cast<double>(count) * static_cast<double>(WireSize(commit->ByteSizeLong()));
    context.TryCancel();
    stream->Finish();
    server_.reset();  // before the proxy
    RecordProperty("up_ratio", absl::StrCat(moved.up_at_socket / moved.up_counted));
    RecordProperty("down_ratio", absl::StrCat(moved.down_at_socket / moved.down_counted));
    return moved;
  }

  static void ExpectWithin(double share, double counted, double at_socket) {
    EXPECT_LE(counted, at_socket * (1 + share));
    EXPECT_GE(counted, at_socket * (1 - share)) << "counted " << counted << ", at the socket " << at_socket;
  }
};

class WireSizeOnASocketSizesTest : public WireSizeOnASocketTest, public ::testing::WithParamInterface<std::pair<size_t, int>> {};

// A window update that found no message to ride with, or a ping, is what the margin is for.
TEST_P(WireSizeOnASocketSizesTest, CountsWhatMovesToWithinThreePercent) {
  const auto [bytes, count] = GetParam();
  const Moved moved = Exchange(bytes, count);
  ExpectWithin(0.03, moved.up_counted, moved.up_at_socket);
  ExpectWithin(0.03, moved.down_counted, moved.down_at_socket);
}

INSTANTIATE_TEST_SUITE_P(FromHeartbeatToDense, WireSizeOnASocketSizesTest,
                         ::testing::Values(std::pair<size_t, int>(200, 300), std::pair<size_t, int>(2000, 100),
                                           std::pair<size_t, int>(20000, 50), std::pair<size_t, int>(2 << 20, 5)),
                         [](const auto& info) { return absl::StrCat(info.param.first, "Bytes"); });

}  // namespace
}  // namespace tributary::coordinator
