// One file of the hub into its blob: resumed where an earlier attempt ended, repeated while it gets on,
// verified by size and checksum before it gets its name.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "hub/hub_cache.h"

namespace rlcpp::hub {

struct HttpResponse;

struct HubFile {
  std::string name;                   // inside the repository
  std::optional<std::uint64_t> size;  // as the hub's list says
  std::string etag;  // 40 hex digits: git's blob id; 64: SHA-256; others carry no checksum; empty: ask first
};

struct RetryPolicy {
  int attempts = 5;  // in a row without a new byte
  // A server that cuts every answer after a few bytes gets on, and never ends: attempts in a row that
  // together bring less than `fair_bytes`.
  int poor_attempts = 10;
  std::uint64_t fair_bytes = std::uint64_t{1} << 20;
  std::chrono::milliseconds first_pause{500};  // doubles
  std::chrono::seconds connect_limit{20}, stall_limit{30};
};

struct DownloadTask {
  std::string url, what;             // what: for messages, "org/name: model.safetensors"
  std::vector<std::string> headers;  // with the token
  HubFile file;
  RetryPolicy retry;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // may be empty
  std::function<void(const std::string&)> note;                           // may be empty
};

// Throws bad_input if the hub refuses (no such file, no right to it), environment_error if the network, the
// disk or the received bytes are at fault after all attempts; what was received is kept for the next time.
void download_blob(const HubCache& cache, const DownloadTask& task);

// For a response that HttpResponse::circles; `what` was asked for.
Error redirected_in_circles(const HttpResponse& response, const std::string& what);
// What a status says to a user.
Error refused_by_hub(int status, const std::string& what, bool with_token);

}  // namespace rlcpp::hub
