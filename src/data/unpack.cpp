#include "data/unpack.h"

#include <dlfcn.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.h"

namespace rlcpp::data {
namespace {

Error damaged(const std::string& path, const std::string& why) {
  return bad_input(path + " cannot be unpacked", why, "download it again");
}

// A library and its functions by name; says how to get it, or how to do without.
class Library {
 public:
  Library(const char* name, std::string help)
      : handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)), name_(name), help_(std::move(help)) {}
  template <class Function>
  void find(const char* name, Function& to) const {
    void* symbol = handle_ == nullptr ? nullptr : dlsym(handle_, name);
    if (symbol == nullptr)
      throw environment_error("this file cannot be unpacked without " + name_, {}, help_);
    to = reinterpret_cast<Function>(symbol);
  }

 private:
  void* handle_;
  std::string name_, help_;
};

struct ZstdBuffer {  // ZSTD_inBuffer and ZSTD_outBuffer (zstd.h), whose layout libzstd.so.1 keeps
  const void* data;
  std::size_t size, at;
};

// The streaming decoder of libzstd.
struct Zstd {
  Zstd() {
    const Library library("libzstd.so.1", "apt-get install libzstd1, or unpack the file with zstd -d");
    library.find("ZSTD_createDStream", create);
    library.find("ZSTD_freeDStream", destroy);
    library.find("ZSTD_decompressStream", decompress);
    library.find("ZSTD_isError", is_error);
    library.find("ZSTD_getErrorName", error_name);
  }
  void* (*create)() = nullptr;
  std::size_t (*destroy)(void*) = nullptr;
  std::size_t (*decompress)(void*, ZstdBuffer* out, ZstdBuffer* in) = nullptr;
  unsigned (*is_error)(std::size_t) = nullptr;
  const char* (*error_name)(std::size_t) = nullptr;
};

struct ZlibStream {  // z_stream (zlib.h), whose layout libz.so.1 keeps and inflateInit2_ checks by its size
  const unsigned char* next_in = nullptr;
  unsigned avail_in = 0;
  unsigned long total_in = 0;
  unsigned char* next_out = nullptr;
  unsigned avail_out = 0;
  unsigned long total_out = 0;
  const char* message = nullptr;
  void* state = nullptr;
  void* (*allocate)(void*, unsigned, unsigned) = nullptr;
  void (*release)(void*, void*) = nullptr;
  void* opaque = nullptr;
  int data_type = 0;
  unsigned long check = 0, reserved = 0;
};

struct Zlib {
  Zlib() {
    const Library library("libz.so.1", "apt-get install zlib1g, or write the file with another compression");
    library.find("inflateInit2_", init);
    library.find("inflate", inflate);
    library.find("inflateEnd", end);
  }
  int (*init)(ZlibStream*, int window_bits, const char* version, int size) = nullptr;
  int (*inflate)(ZlibStream*, int flush) = nullptr;
  int (*end)(ZlibStream*) = nullptr;
};

}  // namespace

std::string unpack_zstd(std::string_view packed, const std::string& path, std::size_t most) {
  static const Zstd zstd;
  const std::unique_ptr<void, std::size_t (*)(void*)> stream(zstd.create(), zstd.destroy);
  RLCPP_CHECK(stream != nullptr);
  std::string text;
  std::vector<char> piece(std::size_t{1} << 20);
  ZstdBuffer in{packed.data(), packed.size(), 0};
  std::size_t rest = 1;  // 0: at the end of a frame
  while (in.at < in.size || rest != 0) {
    ZstdBuffer out{piece.data(), piece.size(), 0};
    const std::size_t before = in.at;
    rest = zstd.decompress(stream.get(), &out, &in);
    if (zstd.is_error(rest) != 0) throw damaged(path, zstd.error_name(rest));
    if (out.at > most - text.size())
      throw damaged(path, "it holds more than " + std::to_string(most) + " bytes");
    text.append(piece.data(), out.at);
    if (rest != 0 && in.at == in.size && out.at < out.size && before == in.at)
      throw damaged(path, "it ends in the middle of a frame");
  }
  return text;
}

std::string unpack_gzip(std::string_view packed, const std::string& path, std::size_t size) {
  static const Zlib zlib;
  constexpr int kEitherForm = 15 + 32;  // the largest window, and the form is told by the first bytes
  constexpr int kFinish = 4, kStreamEnd = 1;
  if (packed.size() >> 31 != 0 || size >> 31 != 0) throw damaged(path, "it has pieces of 2 GiB or more");
  std::string out(size + 1, '\0');  // one byte more shows what is too long
  ZlibStream stream;
  RLCPP_CHECK(zlib.init(&stream, kEitherForm, "1", sizeof stream) == 0);
  stream.next_in = reinterpret_cast<const unsigned char*>(packed.data());
  stream.avail_in = static_cast<unsigned>(packed.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  const int status = zlib.inflate(&stream, kFinish);
  const std::string why = stream.message != nullptr ? stream.message : "it has another size than it says";
  zlib.end(&stream);
  if (status != kStreamEnd || stream.avail_out != 1) throw damaged(path, why);
  out.pop_back();
  return out;
}

std::string unpack_snappy(std::string_view packed, const std::string& path, std::size_t size) {
  std::size_t at = 0;
  const auto bytes = [&](std::size_t count) {  // little-endian
    if (count > packed.size() - at) throw damaged(path, "it ends in the middle of a piece");
    std::size_t value = 0;
    for (std::size_t i = 0; i < count; ++i)
      value |= static_cast<std::size_t>(static_cast<std::uint8_t>(packed[at++])) << (8 * i);
    return value;
  };
  std::size_t said = 0;
  for (unsigned shift = 0;; shift += 7) {
    const std::size_t byte = bytes(1);
    if (shift > 28) throw damaged(path, "its size makes no sense");
    said |= (byte & 0x7F) << shift;
    if (byte < 0x80) break;
  }
  if (said != size) throw damaged(path, "it has another size than it says");
  std::string out;
  out.reserve(size);
  while (at < packed.size()) {
    const std::size_t tag = bytes(1);
    std::size_t length = (tag >> 2) + 1, offset = 0;
    switch (tag & 3) {
      case 0: {
        if (length > 60) length = bytes(length - 60) + 1;
        if (length > packed.size() - at || length > size - out.size())
          throw damaged(path, "a piece is too long");
        out.append(packed.substr(at, length));
        at += length;
        continue;
      }
      case 1:
        length = ((tag >> 2) & 7) + 4;
        offset = (tag >> 5) << 8 | bytes(1);
        break;
      case 2:
        offset = bytes(2);
        break;
      default:
        offset = bytes(4);
        break;
    }
    if (offset == 0 || offset > out.size() || length > size - out.size())
      throw damaged(path, "a piece points outside of what there is");
    // The source may reach into what is being written: then it repeats.
    const std::size_t begin = out.size() - offset;
    for (std::size_t i = 0; i < length; ++i) out.push_back(out[begin + i]);
  }
  if (out.size() != size) throw damaged(path, "it has another size than it says");
  return out;
}

}  // namespace rlcpp::data
