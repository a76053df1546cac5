// The entry of libFuzzer (llvm.org/docs/LibFuzzer.html): one program for all targets, which fuzzes the one
// that it is called by: fuzz_TARGET. A program each would be 34 MB each.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fuzz/targets.h"

namespace {

rlcpp::fuzz::Target chosen = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char*** arguments) {
  const std::string path = (*arguments)[0];
  const std::string name = path.substr(path.rfind('/') + 1);
  const auto& targets = rlcpp::fuzz::targets();
  const auto found = targets.find(name.starts_with("fuzz_") ? name.substr(5) : "");
  if (found == targets.end()) {
    std::fprintf(stderr, "error: there is no target for the name %s: call it fuzz_TARGET\n", name.c_str());
    std::exit(2);
  }
  chosen = found->second;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  chosen({reinterpret_cast<const char*>(data), size});
  return 0;
}
