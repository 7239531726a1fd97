#include "common/page_server.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/listening.h"
#include "common/names.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// The connections that threads are busy with, oldest first.
class Places {
 public:
  explicit Places(int most) : most_(most) {}

  // One more connection waits for a thread.
  void Await() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++waiting_;
    MakeRoom();
  }
  // It has one.
  void Take(int socket) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --waiting_;
    taken_.push_back({socket, false});
    if (closed_) {
      CutOff(taken_.back());
    }
    MakeRoom();
  }
  // Before the socket is closed: its number may be another connection's then.
  void Leave(int socket) {
    const std::lock_guard<std::mutex> lock(mutex_);
    taken_.remove_if([&](const Place& place) { return place.socket == socket; });
  }
  // For good.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    for (Place& place : taken_) {
      CutOff(place);
    }
  }

 private:
  struct Place {
    int socket;
    bool cut_off;
  };
  // Its thread finds the connection ended.
  static void CutOff(Place& place) {
    place.cut_off = true;
    shutdown(place.socket, SHUT_RDWR);
  }
  // Cuts off the oldest, as many as the waiting ones need.
  void MakeRoom() {
    auto stay = std::count_if(taken_.begin(), taken_.end(), [](const Place& place) { return !place.cut_off; });
    for (Place& place : taken_) {
      if (stay + waiting_ <= most_) {
        return;
      }
      if (!place.cut_off) {
        CutOff(place);
        --stay;
      }
    }
  }

  const int most_;
  std::mutex mutex_;
  std::list<Place> taken_;
  int waiting_ = 0;
  bool closed_ = false;
};

// A connection with a bound on time and on what it may send.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(int socket, const PageServer::Limits& limits)
      : socket_(socket), end_(Clock::Real().Now() + limits.time), left_(limits.request_bytes) {}

  bool is_readable() const override { return Wait(POLLIN); }
  bool is_writable() const override { return Wait(POLLOUT); }
  ssize_t read(char* bytes, size_t size) override {
    if (begin_ == filled_) {
      if (left_ == 0 || !Wait(POLLIN)) {
        return -1;
      }
      const ssize_t received = recv(socket_, buffer_.data(), std::min(buffer_.size(), left_), MSG_DONTWAIT);
      if (received <= 0) {
        return received;
      }
      begin_ = 0;
      filled_ = static_cast<size_t>(received);
      left_ -= filled_;
    }
    const size_t taken = std::min(size, filled_ - begin_);
    std::copy_n(buffer_.begin() + begin_, taken, bytes);
    begin_ += taken;
    return static_cast<ssize_t>(taken);
  }
  ssize_t write(const char* bytes, size_t size) override {
    return Wait(POLLOUT) ? send(socket_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
  }
  // Nobody asks who it is.
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool Wait(short event) const {
    pollfd poll_of = {socket_, event, 0};
    const int64_t left = absl::ToInt64Milliseconds(end_ - Clock::Real().Now());
    return left > 0 && poll(&poll_of, 1, static_cast<int>(left)) > 0;
  }

  const int socket_;
  const absl::Time end_;
  size_t left_;  // that may still be read
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;
  size_t filled_ = 0;
};

// The library's own waits for idle connections, and reads a header without end.
class BoundedServer final : public httplib::Server {
 public:
  explicit BoundedServer(const PageServer::Limits& limits) : limits_(limits), places_(limits.connections) {
    new_task_queue = [this] { return new Threads(this); };
    set_payload_max_length(0);
    // The library's own choice lets two processes share one port, and each would answer half of the scrapes.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
  }
  // Once it is bound: the library lets five connections wait to be accepted, and a sixth tries again after a second.
  void AcceptBursts() { ::listen(svr_sock_, SOMAXCONN); }
  void CutOffAll() { places_.Close(); }

 private:
  class Threads final : public httplib::ThreadPool {
   public:
    explicit Threads(BoundedServer* server) : ThreadPool(static_cast<size_t>(server->limits_.connections)), server_(server) {}
    void enqueue(std::function<void()> connection) override {
      server_->places_.Await();
      ThreadPool::enqueue(std::move(connection));
    }

   private:
    BoundedServer* const server_;
  };

  bool process_and_close_socket(socket_t socket) override {
    places_.Take(socket);
    BoundedStream stream(socket, limits_);
    bool closed = false;
    const bool served = process_request(stream, /*close_connection=*/true, closed, nullptr);
    places_.Leave(socket);
    shutdown(socket, SHUT_RDWR);
    close(socket);
    return served;
  }

  const PageServer::Limits limits_;
  Places places_;
};

// Of the Host header, with or without a port.
bool NamesThisMachine(const std::string& host) {
  return IsLoopback(host) || IsLoopback(absl::StrCat(host, ":80"));
}

constexpr char kHtml[] = "text/html; charset=utf-8";

std::string Index(const std::string& title, const std::vector<PageServer::Page>& pages) {
  std::string html = absl::StrCat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", title,
                                  "</title></head>\n<body><h1>", title, "</h1>\n<ul>\n");
  for (const PageServer::Page& page : pages) {
    absl::StrAppend(&html, "<li><a href=\"", page.path, "\">", page.path, "</a>: ", page.about, "</li>\n");
  }
  return absl::StrCat(html, "</ul></body></html>\n");
}

}  // namespace

class PageServer::Impl {
 public:
  explicit Impl(const Limits& limits) : server(limits) {}
  ~Impl() {
    if (!thread_.joinable()) {
      return;
    }
    // stop() before the loop runs would be lost.
    while (!server.is_running() && !ended_) {
      std::this_thread::yield();
    }
    server.CutOffAll();
    server.stop();
    thread_.join();
  }
  void Run() {
    thread_ = std::thread([this] {
      server.listen_after_bind();
      ended_ = true;
    });
  }

  BoundedServer server;

 private:
  std::thread thread_;
  std::atomic<bool> ended_ = false;
};

absl::StatusOr<std::unique_ptr<PageServer>> PageServer::Start(const std::string& listen, const std::string& title,
                                                              const std::vector<Page>& pages, const Limits& limits) {
  TRIBUTARY_RETURN_IF_ERROR(CheckHostPort(listen, /*least_port=*/0));
  const std::string host_part = HostOf(listen);
  int port = 0;
  static_cast<void>(absl::SimpleAtoi(listen.substr(host_part.size() + 1), &port));  // digits, as was checked
  const std::string host = host_part.front() == '[' ? host_part.substr(1, host_part.size() - 2) : host_part;

  auto impl = std::make_unique<Impl>(limits);
  // Our pages load nothing and run nothing; whatever gets into one does not either.
  impl->server.set_default_headers({{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"},
                                    {"X-Content-Type-Options", "nosniff"},
                                    {"Referrer-Policy", "no-referrer"},
                                    {"Cache-Control", "no-store"}});
  if (std::none_of(pages.begin(), pages.end(), [](const Page& page) { return page.path == "/"; })) {
    impl->server.Get(
        "/", [index = Index(title, pages)](const httplib::Request&, httplib::Response& response) { response.set_content(index, kHtml); });
  }
  for (const Page& page : pages) {
    impl->server.Get(page.path, [page](const httplib::Request& request, httplib::Response& response) {
      if (page.audience == Audience::kThisMachine && !NamesThisMachine(request.get_header_value("Host"))) {
        response.status = 403;
        return response.set_content("ask for it by a loopback address, such as http://127.0.0.1:PORT\n", "text/plain");
      }
      response.set_content(page.text(), page.content_type);
    });
  }
  if (port == 0) {
    port = impl->server.bind_to_any_port(host);
  } else if (!impl->server.bind_to_port(host, port)) {
    port = -1;
  }
  if (port <= 0) {
    const absl::Status why = ExplainListenFailure(listen);
    return why.ok() ? WithExitCode(absl::InternalError(absl::StrCat("cannot listen on ", listen)), ExitCode::kUsage) : why;
  }
  impl->server.AcceptBursts();
  impl->Run();
  return std::unique_ptr<PageServer>(new PageServer(std::move(impl), port, absl::StrCat(host_part, ":", port)));
}

PageServer::PageServer(std::unique_ptr<Impl> impl, int port, std::string address)
    : impl_(std::move(impl)), port_(port), address_(std::move(address)) {}
PageServer::~PageServer() = default;

PageServer::Page StatusPageAt(std::function<std::string()> text, absl::Duration rest) {
  struct Kept {
    std::mutex mutex;
    std::string text;
    absl::Time until = absl::InfinitePast();
  };
  auto rarely = [text = std::move(text), rest, kept = std::make_shared<Kept>()] {
    const std::lock_guard<std::mutex> lock(kept->mutex);
    if (Clock::Real().Now() >= kept->until) {
      kept->text = text();
      kept->until = Clock::Real().Now() + rest;
    }
    return kept->text;
  };
  return {"/", "", kHtml, std::move(rarely), PageServer::Audience::kThisMachine};
}

PageServer::Page MetricsPage(std::function<std::string()> text) {
  return {"/metrics", "for Prometheus", "text/plain; version=0.0.4; charset=utf-8", std::move(text)};
}

}  // namespace tributary
