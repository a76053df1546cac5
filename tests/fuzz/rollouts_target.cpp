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

void seal(std::string& text) {
  const std::uint64_t size = text.size();
  std::memcpy(text.data() + 16, &size, 8);
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(text.data(), text.size() - 4)));
  std::memcpy(text.data() + text.size() - 4, &crc, 4);
}

}  // namespace

void rollouts(std::string_view bytes) {
  std::string text(bytes);
  decode(text);
  if (text.size() < 28) return;
  seal(text);
  decode(text);
  // And the length of the header, which an input of another length rarely has.
  const std::size_t brace = text.rfind('}', text.size() - 5);
  if (brace == std::string::npos || brace < 24) return;
  const auto header = static_cast<std::uint32_t>(brace + 1 - 24);
  std::memcpy(text.data() + 12, &header, 4);
  seal(text);
  decode(text);
}

}  // namespace rlcpp::fuzz
