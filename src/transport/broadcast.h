// Weights from the rank that trains to ranks whose engines sample, over the communicator that joins them
// (NCCL between GPUs). What is on its way goes into spare memory; only once all of it is there and verified
// on every rank does it take the place of what serves, so a policy is taken whole or not at all.
//
// One publication, each part a collective of all ranks:
//   header     i64[8]: magic, length and CRC32C of the manifest, step
//   manifest   JSON: run, step, and of each tensor in order its name, type, shape and checksum
//   (ops/checksum.h) (vote)     whoever cannot take it says why, and nothing more is sent tensors    in that
//   order, in pieces of kPiece bytes (vote)     checksums of what arrived; then every rank copies spare to
//   live
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dist/communicator.h"
#include "model/weights.h"
#include "tensor/arena.h"
#include "transport/transport.h"

namespace rlcpp::transport {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};
// What a decoder reads of a model: its parameters in the order of parameter_list(), then its adapters.
std::vector<NamedTensor> named_weights(const model::ModelConfig& config, const model::WeightSet& weights);

// Of one publication, for benchmarks.
struct BroadcastTimes {
  double checksums = 0, transfer = 0, verify = 0, replace = 0;  // seconds; on the sender the first two alone
  double seconds = 0;
  std::size_t bytes = 0;
};

// One rank's side. Its memory is planned for models of up to so many tensors. One thread uses it, the one
// that uses the communicator.
class WeightBroadcast {
 public:
  static constexpr std::int64_t kPiece = std::int64_t{64} << 20;

  struct Regions {
    RegionId words, text;
  };
  static Regions plan(std::size_t tensors, MemoryPlan& plan);
  // All outlive it. `ctx`: of the communicator's device.
  WeightBroadcast(const ops::Context& ctx, dist::Communicator& communicator, int root, const Arena& arena,
                  const Regions& regions);

  // On `root`: the weights as they are now, which nobody changes until this returns. Collective with
  // receive() on all other ranks. Throws bad_input naming the rank and its reason if one of them refuses, as
  // they all then do; the communicator is as good as before. A rank that is lost is the communicator's
  // runtime_failure.
  Publication send(const std::string& run, std::int64_t step, std::span<const NamedTensor> weights);

  // On the others, between two steps of whoever reads `live` (Engine::hold_for_weights() first). spare:
  // memory of the same types and shapes. Until this returns `live` is untouched, whatever is thrown:
  // bad_input as above (another model, a type or shape that differs, a policy older than `oldest`, bytes that
  // are not those of the manifest), or the communicator's runtime_failure, after which the old policy can go
  // on serving. The caller packs the weights again and tells its engine.
  Publication receive(std::int64_t oldest, std::span<const NamedTensor> spare,
                      std::span<const NamedTensor> live);

  // Of the newest that succeeded.
  const BroadcastTimes& times() const { return times_; }

 private:
  struct Header;
  bool sends() const { return communicator_.rank() == root_; }
  void say(const Tensor& to, std::span<const std::byte> bytes, std::string_view name);
  void agree(std::string_view reason, std::int64_t step, std::string_view name);
  void transfer(std::span<const NamedTensor> tensors);

  ops::Context ctx_;
  dist::Communicator& communicator_;
  int root_;
  Tensor words_, text_;
  BroadcastTimes times_;
};

// The manifest as text, and what is wrong with one for somebody who expects `tensors`: a sentence, empty if
// it is theirs. Made known for the tests.
std::string broadcast_manifest(const std::string& run, std::int64_t step,
                               std::span<const NamedTensor> tensors,
                               std::span<const std::uint64_t> checksums);
struct BroadcastManifest {
  std::string run;
  std::int64_t step = 0;
  std::uint32_t fingerprint = 0;  // of the list of tensors
  std::vector<std::uint64_t> checksums;
};
std::string read_broadcast_manifest(std::string_view text, std::span<const NamedTensor> tensors,
                                    BroadcastManifest& out);

}  // namespace rlcpp::transport
