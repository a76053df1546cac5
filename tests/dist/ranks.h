// Ranks as threads of the test, and random tensors of every type with a float64 reference.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dist/world.h"
#include "support.h"
#include "tensor/copy.h"

namespace rlcpp::dist {

// Short, so that a fault shows within a test; a healthy collective takes microseconds.
inline Deadlines short_deadlines() {
  Deadlines limits;
  limits.start = std::chrono::seconds(20);
  limits.soft = std::chrono::seconds(10);
  limits.collective = std::chrono::milliseconds(1500);
  limits.leave = std::chrono::seconds(5);
  return limits;
}

// A patient one for healthy runs on a busy machine.
inline Deadlines long_deadlines() {
  Deadlines limits = short_deadlines();
  limits.collective = std::chrono::seconds(60);
  return limits;
}

inline WorldOptions threads_world(int ranks, Deadlines limits = long_deadlines()) {
  WorldOptions options;
  options.launch.devices.resize(static_cast<std::size_t>(ranks));
  options.deadlines = limits;
  return options;
}

// Runs `body` for every local rank on a thread of its own with its communicator; returns what each threw, ""
// if nothing.
inline std::vector<std::string> run_ranks(World& world, const std::function<void(Communicator&)>& body) {
  std::vector<std::string> errors(static_cast<std::size_t>(world.local_ranks()));
  std::vector<std::thread> threads;
  for (int local = 0; local < world.local_ranks(); ++local) {
    threads.emplace_back([&, local] {
      try {
        const auto communicator = world.join(local);
        body(*communicator);
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(local)] = error.render();
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(local)] = std::string("not an Error: ") + error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

// A host tensor in memory of its own, `shift` elements behind an aligned address, between two guards.
class Values {
 public:
  Values(DType type, std::int64_t count, std::int64_t shift = 0)
      : type_(type),
        count_(count),
        shift_(shift),
        bytes_(static_cast<std::size_t>(count + shift + 8) * 8, 0xA5) {}

  Tensor tensor(Device device = {}) { return Tensor(at(0), type_, {count_}, device); }
  std::int64_t count() const { return count_; }
  DType type() const { return type_; }
  void* at(std::int64_t i) { return bytes_.data() + static_cast<std::size_t>(i + shift_) * size_of(type_); }

  double get(std::int64_t i) {
    switch (type_) {
      case DType::kF32:
        return static_cast<double>(read<float>(i));
      case DType::kBF16:
        return static_cast<double>(bf16_to_f32(read<std::uint16_t>(i)));
      case DType::kF64:
        return read<double>(i);
      case DType::kI64:
        return static_cast<double>(read<std::int64_t>(i));
      default:
        return static_cast<double>(read<std::uint8_t>(i));
    }
  }
  void set(std::int64_t i, double value) {
    switch (type_) {
      case DType::kF32:
        return write(i, static_cast<float>(value));
      case DType::kBF16:
        return write(i, f32_to_bf16(static_cast<float>(value)));
      case DType::kF64:
        return write(i, value);
      case DType::kI64:
        return write(i, static_cast<std::int64_t>(value));
      default:
        return write(i, static_cast<std::uint8_t>(static_cast<std::int64_t>(value) & 0xFF));
    }
  }
  void randomise(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(0.0, 1000.0);
    for (std::int64_t i = 0; i < count_; ++i) set(i, normal(random));
  }
  // The bytes before and after were not touched.
  bool guards_hold() const {
    const std::size_t begin = static_cast<std::size_t>(shift_) * size_of(type_);
    const std::size_t end = begin + static_cast<std::size_t>(count_) * size_of(type_);
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      if ((i < begin || i >= end) && bytes_[i] != 0xA5) return false;
    }
    return true;
  }
  std::string bits() {
    return {static_cast<const char*>(at(0)), static_cast<std::size_t>(count_) * size_of(type_)};
  }

 private:
  template <class T>
  T read(std::int64_t i) {
    T value;
    std::memcpy(&value, at(i), sizeof value);
    return value;
  }
  template <class T>
  void write(std::int64_t i, T value) {
    std::memcpy(at(i), &value, sizeof value);
  }

  DType type_;
  std::int64_t count_, shift_;
  std::vector<std::uint8_t> bytes_;
};

// The result of a reduction in double precision, and how far a correct one may be off: an error of one
// rounding for each addition, relative to the sum of magnitudes.
struct Reference {
  double value = 0, tolerance = 0;
};
inline Reference reduce_reference(DType type, Reduction reduction, const std::vector<double>& in) {
  Reference r;
  double magnitude = 0;
  r.value = in[0];
  for (std::size_t k = 0; k < in.size(); ++k) {
    magnitude += std::abs(in[k]);
    if (k > 0) r.value = reduction == Reduction::kSum ? r.value + in[k] : std::max(r.value, in[k]);
  }
  if (reduction == Reduction::kMax || type == DType::kI64) return r;
  const double unit = type == DType::kF64 ? 0x1p-52 : 0x1p-23;
  r.tolerance = static_cast<double>(in.size()) * unit * magnitude;
  if (type == DType::kBF16) r.tolerance += 0x1p-8 * std::abs(r.value);
  return r;
}

// Every collective on this rank with random tensors that depend on (seed, rank, round) alone, checked against
// the reference on the host. Returns the bits of all results. `fail`: told of a mismatch.
inline std::string check_collectives(Communicator& c, std::uint64_t seed, int rounds,
                                     const std::function<void(const std::string&)>& fail) {
  std::string bits;
  const std::int64_t ranks = c.size();
  const auto seed_of = [&](int round, std::int64_t rank) {
    return seed * 1000003 + static_cast<std::uint64_t>(round) * 101 + static_cast<std::uint64_t>(rank);
  };
  for (int round = 0; round < rounds; ++round) {
    std::mt19937_64 random(seed_of(round, 90));
    constexpr std::array kTypes = {DType::kF32, DType::kBF16, DType::kF64, DType::kI64};
    const DType type = kTypes[random() % kTypes.size()];
    const Reduction reduction = random() % 3 == 0 ? Reduction::kMax : Reduction::kSum;
    constexpr std::array<std::int64_t, 8> kSizes = {0, 1, 2, 3, 7, 1023, 4097, 70001};
    const std::int64_t n = kSizes[random() % kSizes.size()] + static_cast<std::int64_t>(random() % 2);
    const auto shift = static_cast<std::int64_t>(random() % 4);
    const std::string name = "round " + std::to_string(round);
    const auto inputs = [&](std::int64_t count) {
      std::vector<Values> all;
      for (std::int64_t r = 0; r < ranks; ++r) {
        all.emplace_back(type, count, shift);
        all.back().randomise(seed_of(round, r));
      }
      return all;
    };
    const auto expect = [&](bool good, const std::string& what) {
      if (!good) fail(name + ": " + what + " of " + std::to_string(n) + " " + std::string(name_of(type)));
    };
    const auto check_sums = [&](Values& got, std::vector<Values>& in, std::int64_t offset, const char* what) {
      bool good = got.guards_hold();
      for (std::int64_t i = 0; i < got.count() && good; ++i) {
        std::vector<double> column;
        for (Values& values : in) column.push_back(values.get(offset + i));
        const Reference reference = reduce_reference(type, reduction, column);
        good = std::abs(got.get(i) - reference.value) <= reference.tolerance;
      }
      expect(good, what);
    };
    const auto me = static_cast<std::size_t>(c.rank());

    std::vector<Values> in = inputs(n);
    Values sum = in[me];
    c.all_reduce(sum.tensor(), reduction, name).wait();
    check_sums(sum, in, 0, "all_reduce");
    bits += sum.bits();

    in = inputs(n * ranks);
    Values whole = in[me], part(type, n, shift);
    c.reduce_scatter(part.tensor(), whole.tensor(), reduction, name).wait();
    check_sums(part, in, c.rank() * n, "reduce_scatter");
    expect(whole.bits() == in[me].bits(), "the input of reduce_scatter");
    // In place, as the sharded optimizer does it.
    const Tensor own(whole.at(c.rank() * n), type, {n});
    c.reduce_scatter(own, whole.tensor(), reduction, name).wait();
    expect(std::memcmp(own.raw(), part.at(0), own.bytes()) == 0 && whole.guards_hold(),
           "reduce_scatter in place");
    bits += part.bits();

    in = inputs(n);
    Values gathered(type, n * ranks, shift);
    c.all_gather(gathered.tensor(), in[me].tensor(), name).wait();
    std::string wanted;
    for (Values& values : in) wanted += values.bits();
    expect(gathered.bits() == wanted && gathered.guards_hold(), "all_gather");
    Values again(type, n * ranks, shift);
    const Tensor mine(again.at(c.rank() * n), type, {n});
    if (n != 0) std::memcpy(mine.raw(), in[me].at(0), mine.bytes());
    c.all_gather(again.tensor(), mine, name).wait();
    expect(again.bits() == wanted, "all_gather in place");

    const int root = static_cast<int>(random() % static_cast<std::uint64_t>(ranks));
    Values sent = in[me];
    c.broadcast(sent.tensor(), root, name).wait();
    expect(sent.bits() == in[static_cast<std::size_t>(root)].bits() && sent.guards_hold(), "broadcast");
    c.barrier(name);
  }
  return bits;
}

}  // namespace rlcpp::dist
