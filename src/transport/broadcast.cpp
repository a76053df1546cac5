#include "transport/broadcast.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "model/adapters.h"
#include "ops/checksum.h"
#include "tensor/copy.h"

namespace rlcpp::transport {
namespace {

// On the sender before each piece, where flip turns a bit of the last tensor, whose checksum is taken; on a
// receiver once all have come, where it turns one of what came.
const failpoint::Registration kBroadcastPoints{"transport.broadcast.piece", "transport.broadcast.received"};

constexpr std::int64_t kWeightsMagic = 0x3153544857434c52;  // "RLCWHTS1"
constexpr std::size_t kWords = 8, kReason = 512;
constexpr std::size_t kTextOfTensor = 256;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<Tensor> tensors_of(std::span<const NamedTensor> named) {
  std::vector<Tensor> out;
  for (const NamedTensor& t : named) out.push_back(t.tensor);
  return out;
}

std::size_t bytes_of(std::span<const NamedTensor> named) {
  std::size_t sum = 0;
  for (const NamedTensor& t : named) sum += t.tensor.bytes();
  return sum;
}

// A piece of a tensor as a flat one.
Tensor piece_of(const Tensor& t, std::int64_t first, std::int64_t count) {
  auto* const at = static_cast<std::byte*>(t.raw()) + static_cast<std::size_t>(first) * size_of(t.dtype());
  return Tensor(at, t.dtype(), {count}, t.device());
}

void flip_a_bit(const Tensor& t) {
  const Tensor last = piece_of(t, t.size() - 1, 1);
  std::array<std::byte, 8> bytes{};
  const Tensor host(bytes.data(), t.dtype(), {1});
  copy(host, last);
  bytes[0] ^= std::byte{1};
  copy(last, host);
}

}  // namespace

std::vector<NamedTensor> named_weights(const model::ModelConfig& config, const model::WeightSet& weights) {
  std::vector<NamedTensor> out;
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  RLCPP_CHECK(parameters.size() == weights.flat.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) out.push_back({parameters[i].name, weights.flat[i]});
  if (weights.adapters.empty()) return out;
  const std::vector<Tensor> adapters = model::flat_adapters(config, weights.adapters);
  for (std::size_t i = 0; i < adapters.size(); ++i)
    out.push_back({fmt::format("adapters.{}", i), adapters[i]});
  return out;
}

struct WeightBroadcast::Header {
  std::int64_t magic = 0, text_bytes = 0, text_crc = 0, step = 0;
  std::array<std::int64_t, kWords - 4> reserved{};
};

WeightBroadcast::Regions WeightBroadcast::plan(std::size_t tensors, MemoryPlan& plan) {
  const auto words = static_cast<std::int64_t>(std::max(kWords, tensors));
  const auto text = static_cast<std::int64_t>(std::max(kReason, kTextOfTensor * (tensors + 16)));
  return {plan.add(MemoryUse::kWorkspace, "broadcast.words", DType::kI64, {words}),
          plan.add(MemoryUse::kWorkspace, "broadcast.manifest", DType::kU8, {text})};
}

WeightBroadcast::WeightBroadcast(const ops::Context& ctx, dist::Communicator& communicator, int root,
                                 const Arena& arena, const Regions& regions)
    : ctx_(ctx),
      communicator_(communicator),
      root_(root),
      words_(arena[regions.words]),
      text_(arena[regions.text]) {
  static_assert(sizeof(Header) == kWords * sizeof(std::int64_t));
  RLCPP_CHECK(ctx.device == communicator.device() && root >= 0 && root < communicator.size());
}

// `bytes` of the root in `to` on every rank.
void WeightBroadcast::say(const Tensor& to, std::span<const std::byte> bytes, std::string_view name) {
  if (sends())
    copy(piece_of(to, 0, to.size()), Tensor(const_cast<std::byte*>(bytes.data()), to.dtype(), {to.size()}));
  communicator_.broadcast(to, root_, name, {ops::stream_handle(ctx_)}).wait();
}

// Returns if no rank has a reason against it; else all of them throw the reason of the last that has one.
void WeightBroadcast::agree(std::string_view reason, std::int64_t step, std::string_view name) {
  const Tensor vote = words_.rows(0, 1);
  std::int64_t against = reason.empty() ? 0 : communicator_.rank() + 1;
  copy(vote, host_view(std::span(&against, 1), DType::kI64));
  communicator_.all_reduce(vote, dist::Reduction::kMax, name, {ops::stream_handle(ctx_)}).wait();
  copy(host_view(std::span(&against, 1), DType::kI64), vote);
  if (against == 0) return;
  const int rank = static_cast<int>(against) - 1;
  const Tensor said = text_.rows(0, kReason);
  std::array<std::byte, kReason> bytes{};
  if (rank == communicator_.rank()) {
    std::memcpy(bytes.data(), reason.data(), std::min(reason.size(), kReason - 1));
    copy(said, host_view(std::span<std::byte>(bytes), DType::kU8));
  }
  communicator_.broadcast(said, rank, "why weights are refused", {ops::stream_handle(ctx_)}).wait();
  copy(host_view(std::span<std::byte>(bytes), DType::kU8), said);
  throw bad_input(
      fmt::format("rank {} refused the weights of step {}, and those before go on serving", rank, step),
      std::string(reinterpret_cast<const char*>(bytes.data())),
      "start trainer and engines with the same model, and publish the step again");
}

void WeightBroadcast::transfer(std::span<const NamedTensor> tensors) {
  const dist::Stream stream{ops::stream_handle(ctx_)};
  dist::Ticket newest;
  for (const NamedTensor& named : tensors) {
    const std::int64_t piece = kPiece / static_cast<std::int64_t>(size_of(named.tensor.dtype()));
    for (std::int64_t first = 0; first < named.tensor.size(); first += piece) {
      if (sends() && failpoint::hit("transport.broadcast.piece") == "flip") flip_a_bit(tensors.back().tensor);
      const std::int64_t count = std::min(piece, named.tensor.size() - first);
      newest = communicator_.broadcast(piece_of(named.tensor, first, count), root_, "weights " + named.name,
                                       stream);
    }
  }
  // One stream carries them in order.
  if (!tensors.empty()) newest.wait();
}

Publication WeightBroadcast::send(const std::string& run, std::int64_t step,
                                  std::span<const NamedTensor> weights) {
  RLCPP_CHECK(sends());
  const double begin = now();
  const std::vector<Tensor> tensors = tensors_of(weights);
  const std::vector<std::uint64_t> sums = ops::checksums(ctx_, tensors, words_);
  const std::string text = broadcast_manifest(run, step, weights, sums);
  RLCPP_CHECK(text.size() <= static_cast<std::size_t>(text_.size()));
  const auto bytes = std::as_bytes(std::span(text));
  const Header header{
      kWeightsMagic, static_cast<std::int64_t>(text.size()), durable::crc32c(bytes), step, {}};
  const double summed = now();
  say(words_.rows(0, kWords), std::as_bytes(std::span(&header, 1)), "weights: header");
  agree({}, step, "weights: header taken");
  say(text_.rows(0, header.text_bytes), bytes, "weights: manifest");
  agree({}, step, "weights: manifest taken");
  transfer(weights);
  const double sent = now();
  agree({}, step, "weights: verified");
  times_ = {summed - begin, sent - summed, 0, 0, now() - begin, bytes_of(weights)};
  BroadcastManifest manifest;
  RLCPP_CHECK(read_broadcast_manifest(text, weights, manifest).empty());
  return {run, step, manifest.fingerprint, step + 1, ""};
}

Publication WeightBroadcast::receive(std::int64_t oldest, std::span<const NamedTensor> spare,
                                     std::span<const NamedTensor> live) {
  RLCPP_CHECK(!sends() && spare.size() == live.size());
  const double begin = now();
  Header header;
  say(words_.rows(0, kWords), {}, "weights: header");
  copy(Tensor(&header, DType::kI64, {static_cast<std::int64_t>(kWords)}), words_.rows(0, kWords));
  std::string reason;
  if (header.magic != kWeightsMagic) {
    reason = "what came is no publication of weights";
  } else if (header.text_bytes <= 0 || header.text_bytes > text_.size()) {
    reason = fmt::format("its manifest has {} bytes, this model's has at most {}", header.text_bytes,
                         text_.size());
  } else if (header.step < oldest) {
    reason = fmt::format("the weights of step {} serve already", oldest);
  }
  agree(reason, header.step, "weights: header taken");

  const Tensor here = text_.rows(0, header.text_bytes);
  say(here, {}, "weights: manifest");
  std::string text(static_cast<std::size_t>(header.text_bytes), '\0');
  copy(host_view(std::span(text), DType::kU8), here);
  BroadcastManifest manifest;
  if (durable::crc32c(std::as_bytes(std::span(text))) != static_cast<std::uint32_t>(header.text_crc)) {
    reason = "its manifest arrived damaged";
  } else {
    reason = read_broadcast_manifest(text, live, manifest);
    if (reason.empty() && manifest.step != header.step) {
      reason = fmt::format("its manifest is of step {}", manifest.step);
    }
  }
  agree(reason, header.step, "weights: manifest taken");

  transfer(spare);
  const double arrived = now();
  if (failpoint::hit("transport.broadcast.received") == "flip") flip_a_bit(spare.back().tensor);
  const std::vector<Tensor> tensors = tensors_of(spare);
  const std::vector<std::uint64_t> sums = ops::checksums(ctx_, tensors, words_);
  for (std::size_t i = 0; i < sums.size() && reason.empty(); ++i) {
    if (sums[i] == manifest.checksums[i]) continue;
    reason = fmt::format("{} arrived with checksum {:016x}, its manifest says {:016x}", spare[i].name,
                         sums[i], manifest.checksums[i]);
  }
  agree(reason, header.step, "weights: verified");
  const double verified = now();
  ops::synchronize(ctx_);
  for (std::size_t i = 0; i < live.size(); ++i) copy(live[i].tensor, spare[i].tensor);
  const double end = now();
  times_ = {0, arrived - begin, verified - arrived, end - verified, end - begin, bytes_of(live)};
  return {manifest.run, manifest.step, manifest.fingerprint, manifest.step + 1, ""};
}

}  // namespace rlcpp::transport
