// A small HTTP server for pages on the inside of a network, such as metrics: plain HTTP, GET alone, on IPv4 and IPv6.
//
// Nobody can keep it from answering: a connection serves one request, in bounded time and with a bounded request, and when all places are
// taken a new connection takes that of the oldest.
#ifndef TRIBUTARY_COMMON_PAGE_SERVER_H_
#define TRIBUTARY_COMMON_PAGE_SERVER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tributary {

// Thread-safe.
class PageServer {
 public:
  // Who may read a page, of those who reach the server. kThisMachine: a browser must have asked for a loopback address by that name, so
  // that no page from elsewhere has it read what is here (DNS rebinding).
  enum class Audience { kAnyone, kThisMachine };
  struct Page {
    std::string path;   // "/metrics"
    std::string about;  // of the link to it on "/", in a few words
    std::string content_type;
    std::function<std::string()> text;  // called on the server's threads, several at a time
    Audience audience = Audience::kAnyone;
  };
  struct Limits {
    int connections = 16;
    absl::Duration time = absl::Seconds(10);  // from the first byte awaited to the last byte sent
    size_t request_bytes = 16 << 10;
  };

  // Serves `pages`, and at "/" links to them under `title` (unless one of them is "/"), until it is destroyed. `listen`: HOST:PORT; port 0
  // picks a free one. InvalidArgument: not HOST:PORT, or (exit code kUsage) it cannot be listened on; says why.
  static absl::StatusOr<std::unique_ptr<PageServer>> Start(const std::string& listen, const std::string& title,
                                                           const std::vector<Page>& pages, const Limits& limits);
  static absl::StatusOr<std::unique_ptr<PageServer>> Start(const std::string& listen, const std::string& title,
                                                           const std::vector<Page>& pages) {
    return Start(listen, title, pages, Limits());
  }
  // Ends what is being served.
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  int port() const { return port_; }
  // HOST:PORT that it listens on, with the host of `listen`.
  const std::string& address() const { return address_; }

 private:
  class Impl;
  PageServer(std::unique_ptr<Impl> impl, int port, std::string address);

  std::unique_ptr<Impl> impl_;
  const int port_;
  const std::string address_;
};

// A page for people, HTML, at "/", for this machine. `text` is called at most once in `rest`; who comes in between sees what it made
// before.
PageServer::Page StatusPageAt(std::function<std::string()> text, absl::Duration rest = absl::Seconds(2));

// What Prometheus scrapes: `text` in its text format, at /metrics.
PageServer::Page MetricsPage(std::function<std::string()> text);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_PAGE_SERVER_H_
