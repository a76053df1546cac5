// The text of manifest.json and its inverse.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/durable_detail.h"
#include "base/json_problem.h"
#include "base/json_text.h"

namespace rlcpp::durable::detail {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "rlcpp-directory";
constexpr std::uint64_t kVersion = 1;

// The last member closes the object and covers every byte before itself; a fixed form lets the reader compare
// it whole.
std::string seal(const std::string& body) {
  return fmt::format(",\n  \"manifest_crc32c\": \"{:08x}\"\n}}\n", crc32c(std::as_bytes(std::span(body))));
}

Error broken(const std::string& path, const std::string& because) {
  return bad_input(
      path + " does not verify", because,
      "this directory is damaged or not complete: use an older one, or copy it again from its source");
}

// A number with a point, or one beyond 64 bits, has no value as a whole one.
std::uint64_t whole(const std::string& path, const Json& number) {
  if (!number.is_number_unsigned()) throw broken(path, "it has no whole number where one must be");
  return number.get<std::uint64_t>();
}

}  // namespace

bool is_inner_name(const std::string& name) {
  if (name.empty() || name == kManifestName || name.find('\0') != std::string::npos) return false;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t slash = std::min(name.find('/', begin), name.size());
    const std::string_view part = std::string_view(name).substr(begin, slash - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = slash + 1;
  }
  return true;
}

std::string render_manifest(const Manifest& manifest) {
  Json root;
  root["format"] = kFormat;
  root["version"] = kVersion;
  root["run"] = manifest.run_id;
  root["chunk_bytes"] = kChunkBytes;
  root["facts"] = Json::parse(manifest.facts_json);
  root["files"] = Json::array();
  for (const FileEntry& file : manifest.files) {
    Json entry;
    entry["name"] = file.name;
    entry["size"] = file.size;
    entry["crc32c"] = Json::array();
    for (const std::uint32_t crc : file.chunk_crcs) entry["crc32c"].push_back(fmt::format("{:08x}", crc));
    root["files"].push_back(std::move(entry));
  }
  std::string body = root.dump(2);
  body.resize(body.rfind("\n}"));
  return body + seal(body);
}

Manifest parse_manifest(const std::string& path, const std::string& text) {
  const std::size_t seal_bytes = seal("").size();
  if (text.size() <= seal_bytes) {
    throw broken(path, fmt::format("it is cut short: {} bytes", text.size()));
  }
  const std::string body = text.substr(0, text.size() - seal_bytes);
  if (const std::string expected = seal(body); text.compare(body.size(), seal_bytes, expected) != 0) {
    throw broken(
        path, fmt::format("bytes 0 to {} do not match the checksum at offset {}", body.size(), body.size()));
  }
  try {
    const Json root = parse_json_or_throw<Json>(text);
    if (root.at("format") != kFormat) throw broken(path, "it has format " + root.at("format").dump());
    if (const std::uint64_t version = whole(path, root.at("version")); version != kVersion) {
      throw bad_input(path + " has version " + std::to_string(version),
                      "this program reads version " + std::to_string(kVersion),
                      "use the program that wrote it");
    }
    if (whole(path, root.at("chunk_bytes")) != kChunkBytes) throw broken(path, "it has another chunk size");
    Manifest manifest{root.at("run").get<std::string>(), root.at("facts").dump(), {}};
    for (const Json& entry : root.at("files")) {
      FileEntry file{entry.at("name").get<std::string>(), whole(path, entry.at("size")), {}};
      if (!is_inner_name(file.name)) throw broken(path, "it names the file " + entry.at("name").dump());
      for (const Json& crc : entry.at("crc32c")) {
        file.chunk_crcs.push_back(
            static_cast<std::uint32_t>(std::stoul(crc.get<std::string>(), nullptr, 16)));
      }
      if (file.chunk_crcs.size() != (file.size + kChunkBytes - 1) / kChunkBytes) {
        throw broken(path, fmt::format("{} has {} bytes but {} checksums", file.name, file.size,
                                       file.chunk_crcs.size()));
      }
      manifest.files.push_back(std::move(file));
    }
    return manifest;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // JSON of another shape: sealed by something that is not ours
    throw broken(path, json_problem(error));
  }
}

}  // namespace rlcpp::durable::detail
