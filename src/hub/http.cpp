#include "hub/http.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "hub/curl_library.h"

namespace rlcpp::hub {
namespace {

struct Transfer {
  HttpResponse response;
  const HttpSink* sink = nullptr;
  std::exception_ptr thrown;  // by the sink: C code must not be unwound
  bool refused = false;       // the sink wanted no more
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

// "HTTP/1.1 200 OK" begins the headers of an answer; redirects have answers of their own.
std::size_t take_header(char* data, std::size_t size, std::size_t count, void* to) {
  auto& transfer = *static_cast<Transfer*>(to);
  const std::string_view line = trimmed({data, size * count});
  if (line.starts_with("HTTP/")) {
    transfer.response.headers.clear();
    transfer.response.status = 0;
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return size * count;
    for (const char digit : line.substr(space + 1, 3)) {
      if (digit < '0' || digit > '9') break;
      transfer.response.status = transfer.response.status * 10 + (digit - '0');
    }
    return size * count;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || transfer.response.headers.size() > 256) return size * count;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  transfer.response.headers[name] = std::string(trimmed(line.substr(colon + 1)));
  return size * count;
}

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* to) {
  auto& transfer = *static_cast<Transfer*>(to);
  // The body of a redirect is nobody's.
  if (transfer.response.status >= 300 && transfer.response.status < 400) return size * count;
  try {
    const std::span<const char> part(data, size * count);
    if ((*transfer.sink)(transfer.response, std::as_bytes(part))) return size * count;
    transfer.refused = true;
  } catch (...) {
    transfer.thrown = std::current_exception();
  }
  return 0;
}

// Called while bytes come, and about once a second while none do; anything but 0 ends the transfer.
int end_if_stopped(void*, std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  return stop_signal() != 0 ? 1 : 0;
}

}  // namespace

std::string HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

HttpResponse http_request(const HttpRequest& request, const HttpSink& sink) {
  const CurlLibrary& curl = CurlLibrary::get();
  const std::unique_ptr<CurlHandle, void (*)(CurlHandle*)> handle(curl.easy_init(), curl.easy_cleanup);
  RLCPP_CHECK(handle != nullptr);
  const auto set = [&](CurlOption option, auto value) { curl.easy_setopt(handle.get(), option, value); };
  std::unique_ptr<CurlList, void (*)(CurlList*)> headers(nullptr, curl.list_free);
  const auto add_header = [&](const std::string& header) {
    CurlList* list = curl.list_append(headers.get(), header.c_str());
    RLCPP_CHECK(list != nullptr);
    (void)headers.release();
    headers.reset(list);
  };
  for (const std::string& header : request.headers) add_header(header);
  // Bodies are compared with checksums and resumed by their bytes: no compression on the way.
  add_header("Accept-Encoding: identity");
  if (request.offset > 0) add_header(fmt::format("Range: bytes={}-", request.offset));

  Transfer transfer;
  transfer.sink = &sink;
  std::array<char, kCurlErrorSize> error{};
  set(kCurlUrl, request.url.c_str());
  set(kCurlHttpHeader, headers.get());
  set(kCurlUserAgent, "rlcpp");
  set(kCurlNoSignal, 1L);
  set(kCurlNoBody, request.head ? 1L : 0L);
  set(kCurlFollowLocation, request.follow ? 1L : 0L);
  set(kCurlMaxRedirects, kMostRedirects);
  set(kCurlConnectTimeout, static_cast<long>(request.connect_limit.count()));
  set(kCurlLowSpeedLimit, 1L);
  set(kCurlLowSpeedTime, static_cast<long>(request.stall_limit.count()));
  set(kCurlErrorBuffer, error.data());
  set(kCurlNoProgress, request.stoppable ? 0L : 1L);
  set(kCurlProgressFunction, &end_if_stopped);
  set(kCurlHeaderFunction, &take_header);
  set(kCurlHeaderData, static_cast<void*>(&transfer));
  set(kCurlWriteFunction, &take_body);
  set(kCurlWriteData, static_cast<void*>(&transfer));
  // No file:// through a redirect. Older libraries know only the numbers.
  if (curl.easy_setopt(handle.get(), kCurlProtocolsText, "http,https") != 0)
    set(kCurlProtocols, kCurlHttpAndHttps);
  if (curl.easy_setopt(handle.get(), kCurlRedirectProtocolsText, "http,https") != 0)
    set(kCurlRedirectProtocols, kCurlHttpAndHttps);

  const int code = curl.easy_perform(handle.get());
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (code != 0) {
    transfer.response.circles = code == kCurlTooManyRedirects;
    transfer.response.failure = transfer.refused
                                    ? "more came than was wanted"
                                    : printable(error[0] != 0 ? error.data() : curl.easy_strerror(code));
  }
  return transfer.response;
}

HttpResponse http_text(const HttpRequest& request, std::string& body, std::size_t limit) {
  body.clear();
  return http_request(request, [&](const HttpResponse&, std::span<const std::byte> part) {
    if (part.size() > limit - body.size()) return false;
    body.append(reinterpret_cast<const char*>(part.data()), part.size());
    return true;
  });
}

void leave_if_stopped(const std::string& what) {
  const int signal = stop_signal();
  if (signal == 0) return;
  throw Error(signal == SIGINT ? ExitCode::kInterrupted : ExitCode::kTerminated,
              "stopped while downloading " + what, "what came of it is kept in the cache",
              "start again: it goes on where it stopped");
}

void pause_unless_stopped(std::chrono::milliseconds pause, const std::string& what) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + pause;
  for (Clock::time_point now = Clock::now(); now < end; now = Clock::now()) {
    leave_if_stopped(what);
    std::this_thread::sleep_for(std::min<Clock::duration>(end - now, std::chrono::milliseconds(50)));
  }
  leave_if_stopped(what);
}

std::string url_path(const std::string& path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) {
      out.push_back(c);
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace rlcpp::hub
