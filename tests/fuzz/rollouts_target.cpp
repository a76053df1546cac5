// Rollouts that came from another process: as they are, and with the length and checksum that they would
// need.
#include <cstring>
#include <span>

#include "base/durable.h"
#include "fuzz/targets.h"
#include "transport/rollout_batch.h"

namespace rlcpp::fuzz {
namespace {

void decode(const std::string& bytes) {
  accepted([&] {
    const transport::RolloutBatch batch = transport::decode(bytes, "fuzz");
    require(transport::encode(batch) == bytes ||
                transport::encode(transport::decode(transport::encode(batch), "again")) ==
                    transport::encode(batch),
            "rollouts that are written again are the same");
  });
}

}  // namespace

void rollouts(std::string_view bytes) {
  std::string text(bytes);
  decode(text);
  if (text.size() < 28) return;
  const std::uint64_t size = text.size();
  std::memcpy(text.data() + 16, &size, 8);
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(text.data(), text.size() - 4)));
  std::memcpy(text.data() + text.size() - 4, &crc, 4);
  decode(text);
}

}  // namespace rlcpp::fuzz
