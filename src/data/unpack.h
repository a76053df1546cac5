// Packed bytes → plain ones. libzstd and zlib are opened when they are first needed, through their stable C
// interfaces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rlcpp::data {

// All frames of `packed`, at most `most` bytes. Throws bad_input naming `path`, environment_error without
// libzstd.
std::string unpack_zstd(std::string_view packed, const std::string& path, std::size_t most);
// A gzip member (RFC 1952), or zlib's form (RFC 1950), of exactly `size` bytes; the same errors.
std::string unpack_gzip(std::string_view packed, const std::string& path, std::size_t size);
// Snappy's raw format (google/snappy, format_description.txt) of exactly `size` bytes. Throws bad_input.
std::string unpack_snappy(std::string_view packed, const std::string& path, std::size_t size);

}  // namespace rlcpp::data
