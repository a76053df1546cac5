#include <fmt/format.h>

#include "bench/page_text.h"
#include "bench/peers.h"

namespace rlcpp::bench {
namespace {

std::string source_note(const RunConfig& row, const Peer& peer) {
  if (!peer.published.empty()) return fmt::format("published {}, {}", peer.date, peer.published);
  return fmt::format("measured {}, {}", peer.date,
                     measured_together(row, peer) ? "same run" : "another run: " + peer.machine);
}

std::string speed_line(const Result& r, const Peer& peer) {
  const bool failed = !peer.error.empty();
  const RunConfig& c = r.config;
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", marked_type(r),
                     cell(c.hardware_text()), c.seq_len, c.ac, c.numeric_mode,
                     thousands(r.metrics.throughput.mean), cell(peer.name), peer.config.ac,
                     cell(peer.numerics),
                     failed ? cell("failed: " + peer.error) : thousands(peer.tokens_per_second),
                     failed ? "–" : fmt::format("{:.2f}", r.metrics.throughput.mean / peer.tokens_per_second),
                     cell(source_note(c, peer)));
}

std::string memory_line(const Result& r, const Peer& peer) {
  const RunConfig& c = r.config;
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", marked_type(r),
                     cell(c.hardware_text()), c.seq_len, c.ac, gibibytes(r.metrics.peak_memory_gib),
                     cell(peer.name), cell(peer.config.hardware_text()), peer.config.ac,
                     peer.error.empty() ? gibibytes(peer.peak_memory_gib) : cell("failed: " + peer.error),
                     cell(source_note(c, peer)));
}

}  // namespace

std::string render_peers(const std::vector<const Result*>& rows, const std::vector<Peer>& peers) {
  std::string speed;
  std::string memory;
  for (const Result* r : rows) {
    for (const Peer* peer : comparable_peers(r->config, peers)) speed += speed_line(*r, *peer);
    for (const Peer* peer : memory_peers(r->config, peers)) memory += memory_line(*r, *peer);
  }
  if (!speed.empty()) {
    speed =
        "\n### Against peers\n\nRatio: our TPS over the peer's. A peer's own AC is shown where it has no "
        "figure for "
        "ours. Only figures of the same run were measured under the same conditions.\n\n"
        "| Type | Hardware | SeqLen | AC | Numeric mode | TPS | Peer | Its AC | Its numerics | Its TPS | "
        "Ratio | "
        "Source |\n"
        "|------|----------|--------|----|--------------|-----|------|--------|--------------|---------|-----"
        "--|-"
        "-------|\n" +
        speed;
  }
  if (!memory.empty()) {
    memory =
        "\n### Memory of peers on other cards\n\nPeak memory of a GPU alone: speeds of two kinds of card do "
        "not "
        "compare.\n\n"
        "| Type | Hardware | SeqLen | AC | Peak | Peer | Its hardware | Its AC | Its peak | Source |\n"
        "|------|----------|--------|----|------|------|--------------|--------|----------|--------|\n" +
        memory;
  }
  return speed + memory;
}

}  // namespace rlcpp::bench
