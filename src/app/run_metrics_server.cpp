#include "app/run_metrics_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::app {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kLongestRequest = 8192;

// True if `fd` is ready before `limit`.
bool ready(int fd, short events, Clock::time_point limit) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
  pollfd entry{fd, events, 0};
  return left > 0 && poll(&entry, 1, static_cast<int>(left)) > 0;
}

std::string response(const char* status, const char* type, const std::string& body, bool head) {
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                     status, type, body.size(), head ? "" : body);
}

dist::Socket listen_for_scrapes(const std::string& host, int port) {
  try {
    return dist::listen_on(host, port);
  } catch (const Error& error) {
    throw environment_error(fmt::format("the metrics server cannot listen on {}:{}", host, port),
                            error.because(),
                            "set metrics_server.port to a free port (0: any) and metrics_server.host to an "
                            "address of this machine, or remove the section metrics_server");
  }
}

}  // namespace

MetricsServer::MetricsServer(const std::string& host, int port)
    : listener_(listen_for_scrapes(host, port)),
      port_(dist::port_of(listener_)),
      thread_([this] { serve(); }) {}

MetricsServer::~MetricsServer() {
  stop_ = true;
  thread_.join();
}

void MetricsServer::publish(std::string page) {
  const std::lock_guard lock(mutex_);
  page_ = std::move(page);
}

void MetricsServer::serve() {
  while (!stop_) {
    if (!ready(listener_.fd(), POLLIN, Clock::now() + std::chrono::milliseconds(100))) continue;
    const dist::Socket client(accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client.open()) answer(client.fd());
  }
}

void MetricsServer::answer(int client) {
  const Clock::time_point limit = Clock::now() + std::chrono::seconds(1);
  std::string request;
  std::array<char, 2048> part{};
  while (request.find("\r\n\r\n") == std::string::npos && request.find("\n\n") == std::string::npos) {
    if (request.size() > kLongestRequest || !ready(client, POLLIN, limit)) return;
    const ssize_t got = recv(client, part.data(), part.size(), 0);
    if (got <= 0) return;
    request.append(part.data(), static_cast<std::size_t>(got));
  }
  const bool head = request.starts_with("HEAD ");
  const std::size_t path_begin = request.find(' ') + 1;
  const std::string path =
      request.substr(path_begin, request.find_first_of(" ?\r\n", path_begin) - path_begin);
  std::string text;
  if (!head && !request.starts_with("GET ")) {
    text = response("405 Method Not Allowed", "text/plain", "only GET\n", head);
  } else if (path == "/metrics") {
    const std::lock_guard lock(mutex_);
    text = response("200 OK", "text/plain; version=0.0.4; charset=utf-8", page_, head);
  } else if (path == "/health") {
    text = response("200 OK", "text/plain", "ok\n", head);
  } else {
    text = response("404 Not Found", "text/plain", "there are /metrics and /health\n", head);
  }
  for (std::size_t sent = 0; sent < text.size();) {
    if (!ready(client, POLLOUT, limit)) return;
    const ssize_t put = send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (put <= 0) return;
    sent += static_cast<std::size_t>(put);
  }
  // What is still unread would make the close a reset that can overtake the answer.
  shutdown(client, SHUT_WR);
  while (ready(client, POLLIN, limit) && recv(client, part.data(), part.size(), 0) > 0) {
  }
}

}  // namespace rlcpp::app
