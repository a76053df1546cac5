// Checksums against a plain loop, on every device, and that they see what they are for.
#include "ops/checksum.h"

#include <cstring>

#include "base/rng.h"
#include "ops/ops_support.h"
#include "tensor/copy.h"

namespace rlcpp::test {
namespace {

using Checksums = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Checksums, every_device(), device_name);

using Bytes = std::vector<std::uint8_t>;

// By the definition, a word at a time; mix64 of base/rng.h is the same finaliser behind an addition.
std::uint64_t naive(const Bytes& bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; 4 * i < bytes.size(); ++i) {
    std::uint64_t word = 0;
    for (std::size_t b = 0; b < 4 && 4 * i + b < bytes.size(); ++b)
      word |= std::uint64_t{bytes[4 * i + b]} << (8 * b);
    sum += mix64(((std::uint64_t{i} << 32) | word) - 0x9e3779b97f4a7c15ULL);
  }
  return sum;
}

// Bytes in memory of the device, 4 behind an aligned address.
class Held {
 public:
  Held(const Bytes& bytes, Device device) : device_(device) {
    void* memory = nullptr;
    if (device.kind == DeviceKind::kCpu) {
      host_.resize(bytes.size() + 16);
      memory = host_.data() + (4 - reinterpret_cast<std::uintptr_t>(host_.data()) % 4) % 4 + 4;
    } else {
      memory_ = cuda::allocate(bytes.size() + 256, device);
      memory = static_cast<std::byte*>(memory_) + 4;
    }
    tensor = Tensor(memory, DType::kU8, {static_cast<std::int64_t>(bytes.size())}, device);
    if (!bytes.empty()) copy(tensor, host_view(std::span(bytes), DType::kU8));
  }
  ~Held() {
    if (memory_ != nullptr) cuda::release(memory_, device_);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Tensor tensor;

 private:
  Device device_;
  Bytes host_;
  void* memory_ = nullptr;
};

// Where a GPU leaves its sums.
class Sums {
 public:
  explicit Sums(Device device) : held_(Bytes(65 * 8, 0xA5), device) {
    auto* const at = static_cast<std::byte*>(held_.tensor.raw());
    tensor = Tensor(at + (8 - reinterpret_cast<std::uintptr_t>(at) % 8) % 8, DType::kI64, {64}, device);
  }
  Tensor tensor;

 private:
  Held held_;
};

TEST_P(Checksums, AreThoseOfTheDefinitionOnEveryDevice) {
  const ops::Context ctx = context();
  Rng rng(fresh_seed());
  const Sums sums(ctx.device);
  std::vector<Bytes> all;
  std::vector<std::unique_ptr<Held>> held;
  std::vector<Tensor> tensors;
  for (const std::size_t size :
       {0UL, 1UL, 2UL, 3UL, 4UL, 5UL, 63UL, 1024UL, 262143UL, 262145UL, 1000003UL, 3000000UL}) {
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng.next_u32());
    all.push_back(bytes);
    held.push_back(std::make_unique<Held>(bytes, ctx.device));
    tensors.push_back(held.back()->tensor);
  }
  const std::vector<std::uint64_t> got = ops::checksums(ctx, tensors, sums.tensor);
  ASSERT_EQ(got.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(got[i], naive(all[i])) << all[i].size() << " bytes";
  EXPECT_EQ(ops::checksums(ctx, tensors, sums.tensor), got);
  if (!ctx.on_gpu()) {
    EXPECT_EQ(ops::checksums(cpu_context(1), tensors, sums.tensor), got);
  }
}

TEST_P(Checksums, SeeOneBitAndTwoWordsThatChangedPlaces) {
  const ops::Context ctx = context();
  Rng rng(fresh_seed());
  const Sums sums(ctx.device);
  const auto of = [&](const Bytes& bytes) {
    const Held one(bytes, ctx.device);
    return ops::checksums(ctx, std::span(&one.tensor, 1), sums.tensor).at(0);
  };
  Bytes bytes(70001);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng.next_u32());
  const std::uint64_t right = of(bytes);
  for (int round = 0; round < 50; ++round) {
    Bytes wrong = bytes;
    wrong[rng.below(wrong.size())] ^= static_cast<std::uint8_t>(1U << rng.below(8));
    EXPECT_NE(of(wrong), right);
    wrong = bytes;
    const std::size_t a = 4 * rng.below(17000), b = 4 * rng.below(17000);
    std::swap_ranges(wrong.begin() + static_cast<std::ptrdiff_t>(a),
                     wrong.begin() + static_cast<std::ptrdiff_t>(a) + 4,
                     wrong.begin() + static_cast<std::ptrdiff_t>(b));
    if (wrong != bytes) {
      EXPECT_NE(of(wrong), right);
    }
  }
  bytes.push_back(0);  // a length is not in it: whoever compares knows the shape
  EXPECT_EQ(of(bytes), right);
}

}  // namespace
}  // namespace rlcpp::test
