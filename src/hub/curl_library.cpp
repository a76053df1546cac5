#include "hub/curl_library.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace rlcpp::hub {
namespace {

template <class Function>
void bind_symbol(void* library, const char* name, Function& to) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) {
    throw environment_error(std::string("libcurl has no function ") + name, "it is not a libcurl.so.4",
                            "install another: apt-get install libcurl4");
  }
  to = reinterpret_cast<Function>(symbol);
}

CurlLibrary open_curl() {
  void* library = nullptr;
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"}) {
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
  }
  if (library == nullptr) {
    const char* why = dlerror();
    throw environment_error("nothing can be downloaded without libcurl", why == nullptr ? "" : why,
                            "apt-get install libcurl4, or download by other means and name the directory");
  }
  CurlLibrary curl;
  int (*global_init)(long) = nullptr;
  bind_symbol(library, "curl_global_init", global_init);
  bind_symbol(library, "curl_easy_init", curl.easy_init);
  bind_symbol(library, "curl_easy_cleanup", curl.easy_cleanup);
  bind_symbol(library, "curl_easy_setopt", curl.easy_setopt);
  bind_symbol(library, "curl_easy_perform", curl.easy_perform);
  bind_symbol(library, "curl_easy_strerror", curl.easy_strerror);
  bind_symbol(library, "curl_slist_append", curl.list_append);
  bind_symbol(library, "curl_slist_free_all", curl.list_free);
  constexpr long kAll = 3;  // CURL_GLOBAL_ALL
  global_init(kAll);
  return curl;
}

}  // namespace

const CurlLibrary& CurlLibrary::get() {
  static const CurlLibrary curl = open_curl();
  return curl;
}

}  // namespace rlcpp::hub
