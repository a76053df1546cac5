// The part of libcurl that is used, found when the program runs. Numbers and signatures are those of
// curl/curl.h; its ABI (libcurl.so.4) has kept them since 2006, so the header is not needed to build.
#pragma once

#include <cstddef>

namespace rlcpp::hub {

using CurlHandle = void;
struct CurlList;

enum CurlOption : int {
  kCurlWriteData = 10001,
  kCurlUrl = 10002,
  kCurlErrorBuffer = 10010,
  kCurlWriteFunction = 20011,
  kCurlLowSpeedLimit = 19,
  kCurlLowSpeedTime = 20,
  kCurlHttpHeader = 10023,
  kCurlHeaderData = 10029,
  kCurlNoBody = 44,
  kCurlFollowLocation = 52,
  kCurlMaxRedirects = 68,
  kCurlConnectTimeout = 78,
  kCurlHeaderFunction = 20079,
  kCurlNoSignal = 99,
  kCurlNoProgress = 43,
  kCurlProgressFunction = 20219,
  kCurlUserAgent = 10018,
  kCurlProtocolsText = 10318,  // from 7.85; CURLOPT_PROTOCOLS before
  kCurlRedirectProtocolsText = 10319,
  kCurlProtocols = 181,
  kCurlRedirectProtocols = 182,
};
inline constexpr std::size_t kCurlErrorSize = 256;
inline constexpr long kCurlHttpAndHttps = 1 | 2;
inline constexpr int kCurlTooManyRedirects = 47;

struct CurlLibrary {
  CurlHandle* (*easy_init)() = nullptr;
  void (*easy_cleanup)(CurlHandle*) = nullptr;
  int (*easy_setopt)(CurlHandle*, int, ...) = nullptr;
  int (*easy_perform)(CurlHandle*) = nullptr;
  const char* (*easy_strerror)(int) = nullptr;
  CurlList* (*list_append)(CurlList*, const char*) = nullptr;
  void (*list_free)(CurlList*) = nullptr;

  // Opened on the first call. Throws environment_error if there is none.
  static const CurlLibrary& get();
};

}  // namespace rlcpp::hub
