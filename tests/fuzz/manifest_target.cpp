// The manifest of a checkpoint: as it is, and with the checksum that it would need, since no random input has
// that.
#include <fmt/format.h>

#include <span>

#include "base/durable.h"
#include "base/durable_detail.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {
namespace {

void parse(const std::string& text) {
  accepted([&] {
    const durable::detail::Manifest manifest = durable::detail::parse_manifest("manifest.json", text);
    for (const auto& file : manifest.files)
      require(durable::detail::is_inner_name(file.name), "a file stays inside its directory");
    const std::string again = durable::detail::render_manifest(manifest);
    require(durable::detail::render_manifest(durable::detail::parse_manifest("again", again)) == again,
            "a manifest that is written again is the same");
  });
}

}  // namespace

void manifest(std::string_view bytes) {
  std::string text(bytes);
  parse(text);
  const std::size_t seal = text.rfind(",\n  \"manifest_crc32c\"");
  const std::string body = text.substr(0, seal);
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(body)));
  parse(body + fmt::format(",\n  \"manifest_crc32c\": \"{:08x}\"\n}}\n", crc));
}

}  // namespace rlcpp::fuzz
