// Frames over a TCP connection that never blocks: what cannot be sent yet is kept, what has come is handed
// over when it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::dist {

// A descriptor that is closed with its owner.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Socket& operator=(Socket&& other) noexcept;
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Listens on `host` and `port` (0: any). Throws environment_error naming both if it cannot.
Socket listen_on(const std::string& host, int port);
int port_of(const Socket& listener);
// One try, at most two seconds. Not open, with the cause in `why`, if nobody answers.
Socket connect_to(const std::string& host, int port, std::string* why);

class Connection {
 public:
  explicit Connection(Socket socket);

  int fd() const { return socket_.fd(); }
  bool open() const { return socket_.open(); }
  bool has_unsent() const { return sent_ < unsent_.size(); }

  void send(std::uint32_t kind, std::span<const std::byte> payload);
  void send(std::uint32_t kind, std::string_view payload) {
    send(kind, std::as_bytes(std::span(payload.data(), payload.size())));
  }
  // Both close the connection if the other side is gone, or (receive) sends what no peer of ours would.
  void flush();
  void receive(const std::function<void(std::uint32_t kind, std::span<const std::byte> payload)>& frame);
  void close() { socket_ = Socket(); }

 private:
  Socket socket_;
  std::vector<std::byte> unsent_, received_;
  std::size_t sent_ = 0;
};

}  // namespace rlcpp::dist
