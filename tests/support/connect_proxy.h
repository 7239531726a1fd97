// An HTTP proxy on loopback for tests: makes tunnels (CONNECT), or answers as it is told.
#ifndef TRIBUTARY_TESTS_SUPPORT_CONNECT_PROXY_H_
#define TRIBUTARY_TESTS_SUPPORT_CONNECT_PROXY_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tributary {

class ConnectProxy {
 public:
  struct Behaviour {
    // Credentials, in Base64, without which it answers 407; empty: none are needed.
    std::string wanted = {};
    // Answered to every request, "403 Forbidden"; empty: a tunnel is made.
    std::string refusal = {};
  };

  ConnectProxy() : ConnectProxy(Behaviour()) {}
  explicit ConnectProxy(Behaviour behaviour) : behaviour_(std::move(behaviour)) {
    sockaddr_in address = Loopback(0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_, 64), 0);
    socklen_t length = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ConnectProxy() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const int connection : connections_) {
        shutdown(connection, SHUT_RDWR);
      }
    }
    for (std::thread& thread : threads_) {
      thread.join();
    }
    for (const int connection : connections_) {
      close(connection);
    }
    close(listener_);
  }
  ConnectProxy(const ConnectProxy&) = delete;
  ConnectProxy& operator=(const ConnectProxy&) = delete;

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::string url() const { return absl::StrCat("http://", address()); }
  // The heads of the requests so far.
  std::vector<std::string> requests() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

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
      Keep(client);
      threads_.emplace_back([this, client] { Serve(client); });
    }
  }

  void Keep(int connection) {
    const std::lock_guard<std::mutex> lock(mutex_);
    connections_.push_back(connection);
  }

  void Serve(int client) {
    std::string head;
    char byte = 0;
    while (!absl::EndsWith(head, "\r\n\r\n")) {
      if (recv(client, &byte, 1, 0) != 1) {
        return;
      }
      head.push_back(byte);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      requests_.push_back(head);
    }
    const bool authorised = behaviour_.wanted.empty() || absl::StrContains(head, absl::StrCat("Basic ", behaviour_.wanted, "\r\n"));
    if (!authorised) {
      return Answer(client, "407 Proxy Authentication Required");
    }
    if (!behaviour_.refusal.empty()) {
      return Answer(client, behaviour_.refusal);
    }
    // "CONNECT 127.0.0.1:8443 HTTP/1.1": whatever the host, it is on this machine.
    const std::string target = head.substr(8, head.find(' ', 8) - 8);
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(target.substr(target.rfind(':') + 1), &port)) << head;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Keep(server);
    const sockaddr_in address = Loopback(port);
    if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return Answer(client, "502 Bad Gateway");
    }
    const std::string made = "HTTP/1.1 200 Connection established\r\n\r\n";
    send(client, made.data(), made.size(), MSG_NOSIGNAL);
    std::thread up([client, server] { Pump(client, server); });
    Pump(server, client);
    up.join();
  }

  static void Answer(int client, const std::string& status) {
    const std::string answer = absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    shutdown(client, SHUT_WR);
  }

  static void Pump(int from, int to) {
    std::array<char, 65536> buffer;
    for (ssize_t got = recv(from, buffer.data(), buffer.size(), 0); got > 0; got = recv(from, buffer.data(), buffer.size(), 0)) {
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

  const Behaviour behaviour_;
  const int listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port_ = 0;
  std::thread acceptor_;
  std::list<std::thread> threads_;  // of the acceptor's thread
  std::mutex mutex_;
  std::vector<int> connections_;
  std::vector<std::string> requests_;
};

}  // namespace tributary

#endif  // TRIBUTARY_TESTS_SUPPORT_CONNECT_PROXY_H_
