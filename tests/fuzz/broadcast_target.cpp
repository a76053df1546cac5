// The manifest of weights that come over a communicator. A list of tensors is somebody's own, so two are
// tried: of the seeds, and of nobody.
#include <array>

#include "fuzz/targets.h"
#include "transport/broadcast.h"

namespace rlcpp::fuzz {
namespace {

void read(std::string_view text, std::span<const transport::NamedTensor> tensors) {
  transport::BroadcastManifest manifest, again;
  if (!transport::read_broadcast_manifest(text, tensors, manifest).empty()) return;
  require(manifest.step >= 0 && manifest.step < INT64_MAX, "steps are counted on from it");
  require(manifest.checksums.size() == tensors.size(), "each tensor has a checksum");
  const std::string written =
      transport::broadcast_manifest(manifest.run, manifest.step, tensors, manifest.checksums);
  require(transport::read_broadcast_manifest(written, tensors, again).empty(), "what is written is read");
  require(transport::broadcast_manifest(again.run, again.step, tensors, again.checksums) == written,
          "a manifest that is written again is the same");
}

}  // namespace

void broadcast(std::string_view bytes) {
  static std::array<float, 8> memory{};
  static const std::vector<transport::NamedTensor> tensors = {
      {"model.embed_tokens.weight", Tensor(memory.data(), DType::kF32, {2, 3})},
      {"adapters.0", Tensor(memory.data(), DType::kBF16, {4})}};
  read(bytes, tensors);
  read(bytes, {});
}

}  // namespace rlcpp::fuzz
