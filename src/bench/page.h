// benchmarks/results/BENCHMARKS.md: the reference's page, from result files.
#pragma once

#include <string>
#include <vector>

#include "bench/compare.h"
#include "bench/peers.h"

namespace rlcpp::bench {

// The id of a model; of a directory with a configuration, its name: what pages and plots call it.
std::string model_title(const std::string& name);

struct PageFacts {
  std::string updated;  // UTC
  std::string commit;
  std::string machine;        // one line: processor, GPUs, driver
  std::string history;        // path of the history plot relative to the page; empty: none
  std::string sections = {};  // those of render_scaling(), render_rollouts() and so on; empty: none
};

// One section a model (by name), rows by hardware, then type, then length; columns Type, Hardware, SeqLen,
// AC, Attn, MFU, TPS, Step Time, Peak Mem. Regressions are bold with a mark, differences from 1 % are shown.
// Rows measured on a machine busy with something else have a mark and a note, and so have rows with a memory
// limit. A second table gives what the reference's page leaves out, then come those against `peers`. Rows of
// a scaling have a section of their own, and so have rollouts. At the end the failed rows with their reasons.
std::string render_page(const std::vector<Result>& results, const Baselines& baselines,
                        const Thresholds& thresholds, const PageFacts& facts,
                        const std::vector<Peer>& peers = {});

}  // namespace rlcpp::bench
