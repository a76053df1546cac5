// Formats of data files → lines of JSON.
#include <dlfcn.h>

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "data/data_files.h"

namespace rlcpp::data {
namespace {

constexpr std::size_t kMostUnpacked = std::size_t{64} << 30;

struct ZstdBuffer {  // ZSTD_inBuffer and ZSTD_outBuffer (zstd.h), whose layout libzstd.so.1 keeps
  const void* data;
  std::size_t size, at;
};

// The streaming decoder of libzstd.
class Zstd {
 public:
  Zstd() {
    void* library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    const auto find = [&](const char* name, auto& to) {
      void* symbol = library == nullptr ? nullptr : dlsym(library, name);
      if (symbol == nullptr) {
        throw environment_error("a .zst file cannot be read without libzstd", {},
                                "apt-get install libzstd1, or unpack the file with zstd -d");
      }
      to = reinterpret_cast<std::decay_t<decltype(to)>>(symbol);
    };
    find("ZSTD_createDStream", create);
    find("ZSTD_freeDStream", destroy);
    find("ZSTD_decompressStream", decompress);
    find("ZSTD_isError", is_error);
    find("ZSTD_getErrorName", error_name);
  }
  void* (*create)() = nullptr;
  std::size_t (*destroy)(void*) = nullptr;
  std::size_t (*decompress)(void*, ZstdBuffer* out, ZstdBuffer* in) = nullptr;
  unsigned (*is_error)(std::size_t) = nullptr;
  const char* (*error_name)(std::size_t) = nullptr;
};

std::string unpack_zstd(const std::string& packed, const std::string& path) {
  static const Zstd zstd;
  const auto damaged = [&](const std::string& why) {
    return bad_input(path + " cannot be unpacked", why, "download it again");
  };
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
    if (zstd.is_error(rest) != 0) throw damaged(zstd.error_name(rest));
    if (out.at > kMostUnpacked - text.size()) throw damaged("it holds more than 64 GiB");
    text.append(piece.data(), out.at);
    if (rest != 0 && in.at == in.size && out.at < out.size && before == in.at)
      throw damaged("it ends in the middle of a frame");
  }
  return text;
}

// An array of rows → a line each; anything else is taken as lines already.
std::string lines_of_json(std::string text, const std::string& path) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || text[first] != '[') return text;
  const auto rows = nlohmann::ordered_json::parse(text, nullptr, false);
  if (rows.is_discarded()) throw bad_input(path + " is no valid JSON", {}, "download or write it again");
  std::string lines;
  for (const auto& row : rows) lines += row.dump() + "\n";
  return lines;
}

}  // namespace

std::string read_data_lines(const std::string& path) {
  std::string name = path;
  if (name.ends_with(".parquet")) {
    const std::string to = path.substr(0, path.size() - 8) + ".jsonl";
    throw bad_input(
        path + " is a Parquet file, which rlcpp does not read", {},
        fmt::format("convert it once: python3 -c \"import pandas; pandas.read_parquet('{}').to_json('{}', "
                    "orient='records', lines=True)\"",
                    path, to));
  }
  std::string text = durable::read_file(path);
  if (name.ends_with(".zst")) {
    text = unpack_zstd(text, path);
    name.resize(name.size() - 4);
  }
  return name.ends_with(".json") ? lines_of_json(std::move(text), path) : text;
}

}  // namespace rlcpp::data
