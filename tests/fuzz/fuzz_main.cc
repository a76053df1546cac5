// The entry of libFuzzer (llvm.org/docs/LibFuzzer.html) for the target RLCPP_FUZZ_TARGET.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const rlcpp::fuzz::Target target = rlcpp::fuzz::targets().at(RLCPP_FUZZ_TARGET);
  target({reinterpret_cast<const char*>(data), size});
  return 0;
}
