// A hub of tiny repositories on this machine: HTTP/1.1 on a free port, with faults to order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rlcpp::test {

// What goes wrong with the answers to one path, in their order; the last one stays.
struct Fault {
  enum Kind : std::uint8_t {
    kNone,
    kDrop,        // the connection ends after `number` bytes of the body
    kShort,       // Content-Length and body are `number` bytes too short
    kLong,        // ... too long
    kCorrupt,     // byte `number` of the body is another
    kStatus,      // this status, and no body
    kNoRange,     // ranges are ignored
    kWrongRange,  // a range begins `number` bytes later than was asked
    kStall,       // nothing comes after `number` bytes, for longer than any limit of the tests
    kGarbage,     // what comes is no HTTP
    kCircle       // a redirect to where it comes from
  };
  Kind kind = kNone;
  std::int64_t number = 0;
};

class HubServer {
 public:
  HubServer();
  ~HubServer();
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;

  std::string url() const;
  // A file of a repository; `lfs`: named by SHA-256 and served by another host through a redirect, as large
  // files are.
  void file(const std::string& repository, const std::string& name, const std::string& content,
            bool lfs = false);
  void fault(const std::string& path_part, std::vector<Fault> faults);
  // The list without sizes and ids, as an old mirror gives it.
  void plain_lists() { plain_lists_ = true; }
  void require_token(const std::string& token);

  struct Request {
    std::string method, path;
    std::map<std::string, std::string> headers;  // names in lower case
  };
  std::vector<Request> requests() const;
  int count(const std::string& path_part) const;

  static constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";
  static std::string etag(const std::string& content, bool lfs);

 private:
  struct Stored {
    std::string content;
    bool lfs = false;
  };
  void serve();
  void answer(int socket);
  Fault next_fault(const std::string& path);
  std::string list_of(const std::string& repository) const;
  void send_file(int socket, const Request& request, const Stored& stored, const std::string& more_headers);

  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> plain_lists_{false};
  mutable std::mutex mutex_;
  std::string token_;
  std::map<std::string, std::map<std::string, Stored>> repositories_;
  std::map<std::string, std::vector<Fault>> faults_;
  std::vector<Request> requests_;
  std::thread acceptor_;
  std::vector<std::thread> threads_;  // the acceptor's
};

}  // namespace rlcpp::test
