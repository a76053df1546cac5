// glibc's arc4random is of 2.36, and the static C++ runtime of Debian 12 asks for it wherever strings are
// thrown, since its random_device lies in the same object. Releases run with glibc 2.35, so they bring their
// own: the kernel's numbers, as there.
#include <sys/random.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

extern "C" std::uint32_t arc4random() noexcept {
  std::uint32_t value = 0;
  ssize_t got = 0;
  do {
    got = ::getrandom(&value, sizeof value, 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof value))
    std::abort();  // as glibc does without a source of randomness
  return value;
}
