#include "dist/communicator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "base/failpoint.h"
#include "dist/world.h"

namespace rlcpp::dist {
namespace {

const failpoint::Registration kPoints{"dist.enter"};

bool reduces(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduceScatter;
}

}  // namespace

void Ticket::before(Stream stream) const {
  if (owner_ != nullptr) owner_->order(sequence_, stream);
}

void Ticket::wait() const {
  if (owner_ == nullptr) return;
  for (int round = 0; !owner_->done(sequence_); ++round) {
    owner_->world().check();
    if (round < 200) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  owner_->world().check();  // an aborted collective ends too, with anything in its tensors
}

Communicator::Communicator(World& world, int rank, Device device)
    : world_(world), rank_(rank), size_(world.size()), device_(device) {}

Communicator::~Communicator() {
  depart();
}

void Communicator::depart() {
  if (departed_) return;
  departed_ = true;
  world_.dismiss(*this);
}

void Communicator::require_here(const Tensor& t, Collective collective, std::string_view name) const {
  if (t.device() == device_) return;
  throw bad_input(fmt::format("{} [{}] of rank {} was given a tensor on another device", name_of(collective),
                              name, rank_),
                  "a communicator works on the device that it was made for", "");
}

Ticket Communicator::submit(Collective collective, const Tensor& out, const Tensor& in, Reduction reduction,
                            int root, std::string_view name, Stream after) {
  require_here(out, collective, name);
  require_here(in, collective, name);
  const DType type = out.dtype();
  if (in.dtype() != type) {
    throw bad_input(fmt::format("{} [{}]: in is {}, out is {}", name_of(collective), name, in.shape_text(),
                                out.shape_text()),
                    "both have one type", "");
  }
  if (reduces(collective) && type != DType::kF32 && type != DType::kBF16 && type != DType::kF64 &&
      type != DType::kI64) {
    throw bad_input(fmt::format("{} [{}]: {} cannot be reduced over ranks", name_of(collective), name,
                                rlcpp::name_of(type)),
                    "f32, bf16, f64 and i64 can", "");
  }
  const std::int64_t ranks = size_;
  const bool sizes_fit = collective == Collective::kReduceScatter ? in.size() == out.size() * ranks
                         : collective == Collective::kAllGather   ? out.size() == in.size() * ranks
                                                                  : true;
  if (!sizes_fit) {
    throw bad_input(fmt::format("{} [{}] over {} ranks: in is {}, out is {}", name_of(collective), name,
                                size_, in.shape_text(), out.shape_text()),
                    fmt::format("one must be {} times the other", size_), "");
  }
  world_.check();
  failpoint::hit("dist.enter");

  Call call;
  call.entry.sequence = sequence_ + 1;
  call.entry.count = collective == Collective::kBarrier ? 0 : std::max(in.size(), out.size());
  call.entry.root = root;
  call.entry.collective = collective;
  call.entry.reduction = reduction;
  call.entry.type = type;
  call.entry.set_name(name);
  call.out = out.raw();
  call.in = in.raw();
  call.after = after;
  ++sequence_;
  world_.enter(rank_, call.entry, synchronous());
  run(call);
  if (synchronous()) world_.complete(rank_, sequence_);
  return {this, sequence_};
}

Ticket Communicator::all_reduce(const Tensor& t, Reduction reduction, std::string_view name, Stream after) {
  return submit(Collective::kAllReduce, t, t, reduction, 0, name, after);
}

Ticket Communicator::reduce_scatter(const Tensor& out, const Tensor& in, Reduction reduction,
                                    std::string_view name, Stream after) {
  return submit(Collective::kReduceScatter, out, in, reduction, 0, name, after);
}

Ticket Communicator::all_gather(const Tensor& out, const Tensor& in, std::string_view name, Stream after) {
  return submit(Collective::kAllGather, out, in, Reduction::kSum, 0, name, after);
}

Ticket Communicator::broadcast(const Tensor& t, int root, std::string_view name, Stream after) {
  if (root < 0 || root >= size_) {
    throw bad_input(fmt::format("broadcast [{}] from rank {}: there are {} ranks", name, root, size_));
  }
  return submit(Collective::kBroadcast, t, t, Reduction::kSum, root, name, after);
}

void Communicator::barrier(std::string_view name) {
  RLCPP_CHECK(!in_group_);
  const Tensor nothing(nullptr, DType::kU8, {0}, device_);
  submit(Collective::kBarrier, nothing, nothing, Reduction::kSum, 0, name, {}).wait();
}

void Communicator::note(std::string_view doing, std::int64_t at, std::int64_t of) {
  if (of == 0) return world_.note(rank_, doing);
  std::array<char, 64> text{};
  const auto end = fmt::format_to_n(text.data(), text.size(), "{} {} of {}", doing, at, of);
  world_.note(rank_, std::string_view(text.data(), std::min(end.size, text.size())));
}

void Communicator::group_begin() {
  RLCPP_CHECK(!in_group_);
  world_.check();
  in_group_ = true;
  run_group(true);
}

void Communicator::group_end() {
  RLCPP_CHECK(in_group_);
  in_group_ = false;
  run_group(false);
}

}  // namespace rlcpp::dist
