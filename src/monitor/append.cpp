#include "monitor/append.h"

#include <chrono>
#include <span>

namespace rlcpp::monitor {
namespace {

template <class Use>
void with_file(durable::FileLayer& files, const std::string& path, Use use) {
  const int fd = files.open_append(path);
  try {
    use(fd);
  } catch (...) {
    try {
      files.close(fd);
    } catch (const Error&) {  // the first error says more
    }
    throw;
  }
  files.close(fd);
}

}  // namespace

void append(durable::FileLayer& files, const std::string& path, std::string_view bytes) {
  with_file(files, path, [&](int fd) { files.write(fd, std::as_bytes(std::span(bytes))); });
}

void sync_file(durable::FileLayer& files, const std::string& path) {
  with_file(files, path, [&](int fd) { files.sync(fd); });
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace rlcpp::monitor
