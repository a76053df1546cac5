// Figures of other trainers beside which the page puts ours: published ones, and ones measured by a peer
// program on our machine (tools/peers). Committed as benchmarks/peers/*.json, one measurement or a list each.
#pragma once

#include <string>
#include <vector>

#include "bench/result.h"

namespace rlcpp::bench {

struct Peer {
  std::string name;  // "prime-rl 2026-01-12 page"
  // What was run: model_name, type, lora_rank, num_gpus, device_name, seq_len, ac. Nothing else is set.
  RunConfig config;
  double tokens_per_second = 0;  // of the whole job; 0: it failed
  double step_seconds = 0;       // 0: not known
  double peak_memory_gib = 0;    // of one GPU; 0: not known
  std::string numerics;          // precisions, what is left out: what a reader must know beside the figure
  std::string error;             // why it failed; empty if it did not
  std::string published;         // where a published figure stands; empty if it was measured
  std::string command, machine;  // of a measured figure
  std::string date;              // UTC, YYYY-MM-DD
  bool same_run = false;         // measured alternately with our rows, on the same machine
};

// Keys of an entry: peer, model, type (sft | rl), lora_rank (null: full), num_gpus, device_name (as the
// driver says it), seq_len, ac, tokens_per_second or error, numerics, source ({published, date} or {command,
// machine, date}), same_run; optional: step_seconds, peak_memory_gib, details (any object, for the reader of
// the file alone). Throws bad_input naming `where`, the entry of a list, and the key; unknown keys too.
std::vector<Peer> peers_from_json(const std::string& text, const std::string& where);

// Every *.json of a directory, by file name. A path that is not there has no peers; one that is no directory
// is an error.
std::vector<Peer> read_peers(const std::string& path);

// The peers a row's throughput is compared with: same model, type, adapter rank, hardware and length. Of each
// peer (by name) the figures with the row's ac if it has them, else all of them. None for a row with a memory
// limit: it stands for another card.
std::vector<const Peer*> comparable_peers(const RunConfig& row, const std::vector<Peer>& peers);

// The peers whose peak memory is shown beside a row with a memory limit: same model, type, adapter rank,
// number of GPUs and length, on another device than the row's. None for a row without one.
std::vector<const Peer*> memory_peers(const RunConfig& row, const std::vector<Peer>& peers);

// Whether the figures belong together: measured alternately, and the row is still the one of that day.
bool measured_together(const RunConfig& row, const Peer& peer);

// "Against peers" and "Memory of peers on other cards" of one model's rows, as Markdown; empty if no peer
// fits.
std::string render_peers(const std::vector<const Result*>& rows, const std::vector<Peer>& peers);

}  // namespace rlcpp::bench
