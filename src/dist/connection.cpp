#include "dist/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::dist {
namespace {

struct Header {
  std::uint32_t magic, kind, bytes;
};
constexpr std::uint32_t kMagic = 0x31434c52;  // "RLC1"
constexpr std::uint32_t kLargest = 4U << 20;

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Addresses resolve(const std::string& host, int port, std::string* why) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (status != 0) *why = ::gai_strerror(status);
  return {status == 0 ? found : nullptr, &::freeaddrinfo};
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Socket listen_on(const std::string& host, int port) {
  std::string why;
  const Addresses addresses = resolve(host, port, &why);
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
    const int yes = 1;
    if (socket.open() && ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
        ::bind(socket.fd(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(socket.fd(), 1024) == 0) {
      return socket;
    }
    why = std::strerror(errno);
  }
  throw environment_error(
      fmt::format("rank 0 cannot listen on {}:{}, where the ranks are to meet", host, port), why,
      "name a free port and a host name of this machine with --dist.address HOST:PORT");
}

int port_of(const Socket& listener) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

Socket connect_to(const std::string& host, int port, std::string* why) {
  const Addresses addresses = resolve(host, port, why);
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
    if (!socket.open()) continue;
    if (::connect(socket.fd(), a->ai_addr, a->ai_addrlen) == 0) return socket;
    int error = errno;
    if (error == EINPROGRESS) {
      pollfd wait{socket.fd(), POLLOUT, 0};
      socklen_t length = sizeof error;
      if (::poll(&wait, 1, 2000) == 1) {
        ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
      } else {
        error = ETIMEDOUT;
      }
      if (error == 0) return socket;
    }
    *why = std::strerror(error);
  }
  return Socket();
}

Connection::Connection(Socket socket) : socket_(std::move(socket)) {
  if (!open()) return;
  const int yes = 1;
  ::setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  ::fcntl(fd(), F_SETFL, ::fcntl(fd(), F_GETFL) | O_NONBLOCK);
}

void Connection::send(std::uint32_t kind, std::span<const std::byte> payload) {
  if (!open()) return;
  RLCPP_CHECK(payload.size() <= kLargest);
  const Header header{kMagic, kind, static_cast<std::uint32_t>(payload.size())};
  const auto head = std::as_bytes(std::span(&header, 1));
  unsent_.insert(unsent_.end(), head.begin(), head.end());
  unsent_.insert(unsent_.end(), payload.begin(), payload.end());
}

void Connection::flush() {
  while (open() && has_unsent()) {
    const ssize_t sent = ::send(fd(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) close();
      return;
    }
    sent_ += static_cast<std::size_t>(sent);
  }
  unsent_.clear();
  sent_ = 0;
}

void Connection::receive(
    const std::function<void(std::uint32_t kind, std::span<const std::byte> payload)>& frame) {
  std::array<std::byte, 65536> block;
  bool ended = false;
  while (open()) {
    const ssize_t got = ::recv(fd(), block.data(), block.size(), 0);
    if (got > 0) {
      received_.insert(received_.end(), block.begin(), block.begin() + got);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    ended = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    break;
  }
  // What came before the end still counts: a rank says goodbye and closes.
  std::size_t at = 0;
  while (received_.size() - at >= sizeof(Header)) {
    Header header;
    std::memcpy(&header, received_.data() + at, sizeof header);
    if (header.magic != kMagic || header.bytes > kLargest) {
      ended = true;
      break;
    }
    if (received_.size() - at < sizeof header + header.bytes) break;
    frame(header.kind, std::span(received_).subspan(at + sizeof header, header.bytes));
    at += sizeof header + header.bytes;
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(at));
  if (ended) close();
}

}  // namespace rlcpp::dist
