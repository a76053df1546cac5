#include <nmmintrin.h>

#include <array>
#include <cstring>

#include "base/durable.h"

namespace rlcpp::durable {
namespace {

// Reflected form of the Castagnoli polynomial 0x1EDC6F41 (RFC 3720, appendix B.4).
constexpr std::uint32_t kPolynomial = 0x82F63B78;

// Slicing by 8: table[k][b] advances byte b by k further zero bytes, so eight bytes take eight independent
// look-ups.
constexpr auto kTables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t value = b;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? kPolynomial : 0U);
    tables[0][b] = value;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xffU];
    }
  }
  return tables;
}();

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::span<const std::byte> bytes,
                                                             std::uint32_t crc) {
  std::uint64_t value = ~crc;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    value = _mm_crc32_u64(value, word);
  }
  auto narrow = static_cast<std::uint32_t>(value);
  for (; left > 0; --left, ++at) narrow = _mm_crc32_u8(narrow, static_cast<std::uint8_t>(*at));
  return ~narrow;
}

// Polynomials modulo kPolynomial over GF(2), in the reflected form: bit 31 is x^0.
constexpr std::uint32_t kOne = 0x80000000U;

std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a & kOne) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1U) != 0 ? kPolynomial : 0U);  // b * x
  }
  return product;
}

}  // namespace

// Bytes that follow multiply the remainder of those before by x^8 each; the rest of a checksum is linear, and
// its inversions before and after cancel.
std::uint32_t crc32c_combine(std::uint32_t first_crc, std::uint32_t second_crc, std::uint64_t bytes) {
  std::uint32_t shift = kOne, power = kOne >> 8;  // x^8
  for (; bytes != 0; bytes >>= 1) {
    if ((bytes & 1U) != 0) shift = multiply(shift, power);
    power = multiply(power, power);
  }
  return multiply(first_crc, shift) ^ second_crc;
}

bool crc32c_in_hardware() {
  static const bool supported = __builtin_cpu_supports("sse4.2") != 0;
  return supported;
}

std::uint32_t crc32c_table(std::span<const std::byte> bytes, std::uint32_t crc) {
  std::uint32_t value = ~crc;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + 4, 4);
    low ^= value;
    value = kTables[7][low & 0xffU] ^ kTables[6][(low >> 8) & 0xffU] ^ kTables[5][(low >> 16) & 0xffU] ^
            kTables[4][low >> 24] ^ kTables[3][high & 0xffU] ^ kTables[2][(high >> 8) & 0xffU] ^
            kTables[1][(high >> 16) & 0xffU] ^ kTables[0][high >> 24];
  }
  for (; left > 0; --left, ++at)
    value = (value >> 8) ^ kTables[0][(value ^ static_cast<std::uint8_t>(*at)) & 0xffU];
  return ~value;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  return crc32c_in_hardware() ? crc32c_sse42(bytes, crc) : crc32c_table(bytes, crc);
}

}  // namespace rlcpp::durable
