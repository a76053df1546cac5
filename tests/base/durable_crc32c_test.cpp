#include <array>
#include <random>
#include <string_view>
#include <vector>

#include "base/durable.h"
#include "support.h"

namespace rlcpp::durable {
namespace {

// The definition, bit by bit, independent of both implementations.
std::uint32_t crc_by_bits(std::span<const std::byte> bytes) {
  std::uint32_t value = 0xffffffffU;
  for (const std::byte byte : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const std::uint32_t in = (static_cast<std::uint32_t>(byte) >> bit) & 1U;
      value = (value >> 1) ^ (((value ^ in) & 1U) != 0 ? 0x82f63b78U : 0U);
    }
  }
  return ~value;
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

void expect_crc(const std::vector<std::byte>& bytes, std::uint32_t expected) {
  EXPECT_EQ(crc32c(bytes), expected);
  EXPECT_EQ(crc32c_table(bytes), expected);
  EXPECT_EQ(crc_by_bits(bytes), expected);
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Crc32c, KnownVectors) {
  expect_crc(bytes_of("123456789"), 0xe3069283U);
  expect_crc({}, 0);
  expect_crc(std::vector<std::byte>(32, std::byte{0}), 0x8a9136aaU);
  expect_crc(std::vector<std::byte>(32, std::byte{0xff}), 0x62a8ab43U);
  std::vector<std::byte> up, down;
  for (int i = 0; i < 32; ++i)
    up.push_back(static_cast<std::byte>(i)), down.push_back(static_cast<std::byte>(31 - i));
  expect_crc(up, 0x46dd794eU);
  expect_crc(down, 0x113fdb5cU);
}

TEST(Crc32c, RandomBytesAndSplits) {
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes(random() % 200 + (round % 10 == 0 ? 5000 : 0));
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    const std::size_t skip =
        bytes.empty() ? 0 : random() % std::min<std::size_t>(bytes.size(), 9);  // unaligned starts
    const auto all = std::span<const std::byte>(bytes).subspan(skip);
    const std::uint32_t expected = crc_by_bits(all);
    EXPECT_EQ(crc32c(all), expected);
    EXPECT_EQ(crc32c_table(all), expected);
    const std::size_t split = all.empty() ? 0 : random() % (all.size() + 1);
    EXPECT_EQ(crc32c(all.subspan(split), crc32c(all.first(split))), expected);
    EXPECT_EQ(crc32c_table(all.subspan(split), crc32c_table(all.first(split))), expected);
  }
}

}  // namespace
}  // namespace rlcpp::durable
