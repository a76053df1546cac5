#include "hub/hub_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hub/digest.h"

namespace rlcpp::test {
namespace {

void send_all(int socket, const std::string& bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t sent = send(socket, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent <= 0) return;
    at += static_cast<std::size_t>(sent);
  }
}

std::string head(int status, std::size_t length, const std::string& more) {
  return fmt::format("HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n", status, length,
                     more);
}

HubServer::Request parse(const std::string& text) {
  HubServer::Request request;
  request.method = text.substr(0, text.find(' '));
  const std::size_t begin = request.method.size() + 1;
  request.path = text.substr(begin, text.find(' ', begin) - begin);
  for (std::size_t at = text.find("\r\n") + 2; at < text.size();) {
    const std::size_t end = text.find("\r\n", at);
    const std::string line = text.substr(at, end - at);
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) {
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = line.substr(colon + 2);
    }
    at = end + 2;
  }
  return request;
}

}  // namespace

std::string HubServer::etag(const std::string& content, bool lfs) {
  hub::Digest digest(lfs ? hub::DigestKind::kSha256 : hub::DigestKind::kSha1);
  const std::string git = lfs ? "" : fmt::format("blob {}", content.size()) + '\0';
  digest.update(std::as_bytes(std::span(git)));
  digest.update(std::as_bytes(std::span(content)));
  return digest.hex();
}

HubServer::HubServer() {
  setenv("no_proxy", "127.0.0.1,localhost", 1);
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 32) != 0)
    abort();
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { serve(); });
}

HubServer::~HubServer() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  close(listener_);
}

std::string HubServer::url() const {
  return fmt::format("http://127.0.0.1:{}", port_);
}

void HubServer::file(const std::string& repository, const std::string& name, const std::string& content,
                     bool lfs) {
  const std::lock_guard lock(mutex_);
  repositories_[repository][name] = {content, lfs};
}

void HubServer::fault(const std::string& path_part, std::vector<Fault> faults) {
  const std::lock_guard lock(mutex_);
  faults_[path_part] = std::move(faults);
}

std::vector<HubServer::Request> HubServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void HubServer::require_token(const std::string& token) {
  const std::lock_guard lock(mutex_);
  token_ = token;
}

int HubServer::count(const std::string& path_part) const {
  int found = 0;
  for (const Request& request : requests())
    found += request.path.find(path_part) != std::string::npos ? 1 : 0;
  return found;
}

void HubServer::serve() {
  while (!stop_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (poll(&waiting, 1, 20) != 1) continue;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    threads_.emplace_back([this, connection] {
      answer(connection);
      shutdown(connection, SHUT_RDWR);
      close(connection);
    });
  }
}

Fault HubServer::next_fault(const std::string& path) {
  const std::lock_guard lock(mutex_);
  for (auto& [part, faults] : faults_) {
    if (path.find(part) == std::string::npos || faults.empty()) continue;
    const Fault fault = faults.front();
    if (faults.size() > 1) faults.erase(faults.begin());
    return fault;
  }
  return {};
}

std::string HubServer::list_of(const std::string& repository) const {
  nlohmann::json list = {{"id", repository}, {"sha", kCommit}, {"siblings", nlohmann::json::array()}};
  for (const auto& [name, stored] : repositories_.at(repository)) {
    nlohmann::json entry = {{"rfilename", name}};
    if (!plain_lists_) {
      entry["size"] = stored.content.size();
      entry["blobId"] = etag(stored.lfs ? "pointer" : stored.content, false);
      if (stored.lfs)
        entry["lfs"] = {{"sha256", etag(stored.content, true)}, {"size", stored.content.size()}};
    }
    list["siblings"].push_back(entry);
  }
  return list.dump();
}

void HubServer::answer(int socket) {
  std::string text;
  while (text.find("\r\n\r\n") == std::string::npos) {
    char piece[4096];
    const ssize_t got = recv(socket, piece, sizeof piece, 0);
    if (got <= 0) return;
    text.append(piece, static_cast<std::size_t>(got));
  }
  const Request request = parse(text);
  std::string token;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    token = token_;
  }
  const auto authorization = request.headers.find("authorization");
  const bool cdn = request.path.starts_with("/cdn/");
  if (!token.empty() && !cdn &&
      (authorization == request.headers.end() || authorization->second != "Bearer " + token)) {
    send_all(socket, head(401, 0, ""));
    return;
  }
  std::unique_lock lock(mutex_);
  for (const auto& [repository, files] : repositories_) {
    for (const char* kind : {"models", "datasets"}) {
      const std::string api = fmt::format("/api/{}/{}/revision/", kind, repository);
      if (!request.path.starts_with(api)) continue;
      const Stored list{list_of(repository), false};
      lock.unlock();
      send_file(socket, request, list, "");
      return;
    }
    for (const char* prefix : {"/", "/datasets/", "/cdn/", "/cdn/datasets/"}) {
      const std::string resolve = fmt::format("{}{}/resolve/{}/", prefix, repository, kCommit);
      if (!request.path.starts_with(resolve)) continue;
      const auto found = files.find(request.path.substr(resolve.size()));
      if (found == files.end()) continue;
      const Stored stored = found->second;
      lock.unlock();
      if (stored.lfs && !cdn) {
        send_all(
            socket,
            head(302, 5,
                 fmt::format(
                     "Location: http://localhost:{}/cdn{}\r\nX-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n"
                     "ETag: \"none\"\r\n",
                     port_, request.path, etag(stored.content, true), stored.content.size())) +
                "moved");
        return;
      }
      send_file(socket, request, stored, fmt::format("ETag: \"{}\"\r\n", etag(stored.content, stored.lfs)));
      return;
    }
  }
  lock.unlock();
  send_all(socket, head(404, 0, ""));
}

void HubServer::send_file(int socket, const Request& request, const Stored& stored, const std::string& more) {
  const Fault fault = next_fault(request.path);
  if (fault.kind == Fault::kStatus) return send_all(socket, head(static_cast<int>(fault.number), 0, ""));
  if (fault.kind == Fault::kCircle)
    return send_all(socket, head(302, 0, fmt::format("Location: {}\r\n", request.path)));
  if (fault.kind == Fault::kGarbage) return send_all(socket, "\x01\x02 nothing that is HTTP \r\n\r\n");
  std::string body = stored.content;
  if (fault.kind == Fault::kCorrupt && !body.empty()) body[static_cast<std::size_t>(fault.number)] ^= 0x55;
  std::string headers = more;
  int status = 200;
  const auto range = request.headers.find("range");
  if (range != request.headers.end() && fault.kind != Fault::kNoRange) {
    std::size_t begin = std::stoull(range->second.substr(6));
    if (begin >= body.size()) return send_all(socket, head(416, 0, ""));
    if (fault.kind == Fault::kWrongRange) begin += static_cast<std::size_t>(fault.number);
    status = 206;
    headers += fmt::format("Content-Range: bytes {}-{}/{}\r\n", begin, body.size() - 1, body.size());
    body = body.substr(begin);
  }
  if (fault.kind == Fault::kShort) body.resize(body.size() - static_cast<std::size_t>(fault.number));
  if (fault.kind == Fault::kLong) body.append(static_cast<std::size_t>(fault.number), 'x');
  send_all(socket, head(status, body.size(), headers));
  if (request.method == "HEAD") return;
  if (fault.kind == Fault::kDrop || fault.kind == Fault::kStall)
    body.resize(std::min(body.size(), static_cast<std::size_t>(fault.number)));
  send_all(socket, body);
  for (int i = 0; fault.kind == Fault::kStall && i < 400 && !stop_; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

}  // namespace rlcpp::test
