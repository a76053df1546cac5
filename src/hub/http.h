// HTTP(S) through libcurl, which is opened when it is first needed: a machine that downloads nothing need not
// have it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace rlcpp::hub {

inline constexpr long kMostRedirects = 10;

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Authorization: Bearer ...": not sent on to another host
  bool head = false;
  bool follow = true;        // redirects
  std::uint64_t offset = 0;  // of the body: "Range: bytes=offset-"
  bool stoppable = false;    // a signal (base/signals.h) ends the transfer
  std::chrono::seconds connect_limit{20};
  std::chrono::seconds stall_limit{30};  // without a byte
};

struct HttpResponse {
  int status = 0;                              // 0: there was no answer
  std::map<std::string, std::string> headers;  // of the last answer, by name in lower case
  bool circles = false;                        // one redirect came after the other, beyond any need
  std::string failure;                         // why the transfer ended before its end; empty: it is complete

  bool complete() const { return failure.empty() && status > 0; }
  std::string header(const std::string& name) const;  // empty: absent
};

// Gets parts of a body in their order; false ends the transfer.
using HttpSink = std::function<bool(const HttpResponse& so_far, std::span<const std::byte> part)>;

// One request, once. What goes wrong on the way is in the response; throws environment_error only if there is
// no libcurl.
HttpResponse http_request(const HttpRequest& request, const HttpSink& sink);
// The same with the body as text; more than `limit` bytes are a failure.
HttpResponse http_text(const HttpRequest& request, std::string& body, std::size_t limit);

// Throws once a signal (base/signals.h) has asked the process to leave: who waits for `what` to be downloaded
// has nothing else to finish.
void leave_if_stopped(const std::string& what);
// Waits so long between two attempts, and no longer than until a signal, which throws as above.
void pause_unless_stopped(std::chrono::milliseconds pause, const std::string& what);

// "a b" → "a%20b"; '/' stays.
std::string url_path(const std::string& path);

}  // namespace rlcpp::hub
