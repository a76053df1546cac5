#include "ops/cuda/matmul_algorithms.h"

#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"

namespace rlcpp::ops::cuda {
namespace {

using nlohmann::json;

constexpr const char* kAlgorithmFormat = "rlcpp products 1";

std::string hex_of(const AlgorithmBits& bits) {
  std::string text;
  for (const std::uint64_t word : bits) text += fmt::format("{:016x}", word);
  return text;
}

// False unless `text` is 16 hexadecimal digits a word.
bool read_hex(std::string_view text, AlgorithmBits& bits) {
  if (text.size() != bits.size() * 16) return false;
  for (std::uint64_t& word : bits) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + 16, word, 16);
    if (error != std::errc() || end != text.data() + 16) return false;
    text.remove_prefix(16);
  }
  return true;
}

json place_json(const AlgorithmPlace& place) {
  return {{"format", kAlgorithmFormat},
          {"gpu", place.gpu},
          {"multiprocessors", place.multiprocessors},
          {"cublaslt", place.cublaslt},
          {"driver", place.driver}};
}

// Over place and algorithms: a flipped bit in an algorithm would be another algorithm, or none.
std::uint32_t checksum(const json& place, const json& algorithms) {
  const std::string text = place.dump() + algorithms.dump();
  return durable::crc32c(std::as_bytes(std::span(text)));
}

// The reason why the text of a file cannot be used, empty if it can.
std::string read_algorithms(const std::string& text, const AlgorithmPlace& place, AlgorithmTable& table) {
  const json file = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!file.is_object()) return "it is not JSON";
  if (!file.contains("place") || !file.contains("algorithms") || !file["algorithms"].is_object() ||
      !file.contains("crc32c") || !file["crc32c"].is_number_unsigned()) {
    return "it has other keys than ours";
  }
  if (file["place"] != place_json(place)) return "it was measured on another GPU or with other libraries";
  if (file["crc32c"] != checksum(file["place"], file["algorithms"])) return "its checksum is wrong";
  for (const auto& [key, value] : file["algorithms"].items()) {
    if (!value.is_string() || !read_hex(value.get<std::string>(), table[key])) {
      table.clear();
      return "it holds something that is no algorithm";
    }
  }
  return {};
}

}  // namespace

std::string algorithm_file_name(const AlgorithmPlace& place) {
  std::string gpu = place.gpu;
  for (char& c : gpu) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
  }
  return fmt::format("products-{}-{}-cublaslt-{}-driver-{}.json", gpu, place.multiprocessors, place.cublaslt,
                     place.driver);
}

std::string default_algorithm_directory() {
  // The specification has relative paths ignored.
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::string(cache) + "/rlcpp";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/rlcpp";
  return {};
}

LoadedAlgorithms load_algorithms(const std::string& path, const AlgorithmPlace& place) {
  LoadedAlgorithms loaded;
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return loaded;
  std::string reason;
  try {
    reason = read_algorithms(durable::read_file(path), place, loaded.table);
  } catch (const Error& unreadable) {
    reason = unreadable.because().empty() ? unreadable.what() : unreadable.because();
  } catch (const json::exception& wrong) {  // text that is no UTF-8 cannot be written again for the checksum
    loaded.table.clear();
    reason = wrong.what();
  }
  if (!reason.empty()) {
    loaded.warning = fmt::format("{} is ignored: {}; products take the library's first choice", path, reason);
  }
  return loaded;
}

void save_algorithms(const std::string& path, const AlgorithmPlace& place, const AlgorithmTable& table) {
  json algorithms = json::object();
  for (const auto& [key, bits] : table) algorithms[key] = hex_of(bits);
  const json header = place_json(place);
  const json file = {{"place", header}, {"algorithms", algorithms}, {"crc32c", checksum(header, algorithms)}};
  durable::FileLayer& files = durable::system_files();
  durable::make_directories(files, std::filesystem::path(path).parent_path().string());
  durable::write_file(files, path, file.dump(2) + "\n");
}

}  // namespace rlcpp::ops::cuda
