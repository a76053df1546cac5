// Result files of benchmarks: a row of the matrix, steps of rl, rollouts, publications, collectives, figures
// of others, and the plan that a dry run writes.
#include "bench/collectives.h"
#include "bench/peers.h"
#include "bench/plans.h"
#include "bench/publication_page.h"
#include "bench/result.h"
#include "bench/rl_page.h"
#include "bench/rollout_page.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void result_file(std::string_view bytes) {
  const std::string file(bytes);
  accepted([&] {
    const bench::Result result = bench::from_json(file, "fuzz.json");
    const std::string name = result.config.file_name();
    require(name.find('/') == std::string::npos, "the name of a result's file is one name");
    const std::string text = bench::to_json(result);
    require(bench::to_json(bench::from_json(text, "again")) == text,
            "a result that is written again is the same");
  });
  accepted([&] {
    const bench::RlFile steps = bench::rl_from_json(file, "fuzz.json");
    require(steps.sequences > 0 && steps.num_gpus > 0, "steps have sequences and GPUs");
    bench::render_rl({steps});
  });
  accepted([&] {
    const bench::RolloutFile rollouts = bench::rollouts_from_json(file, "fuzz.json");
    for (const bench::RolloutFigure& f : rollouts.figures)
      require(f.sequences > 0 && f.seconds > 0, "rollouts have sequences and take time");
    bench::render_rollouts({rollouts});
  });
  accepted([&] {
    const bench::PublicationFile weights = bench::publication_from_json(file, "fuzz.json");
    require(weights.num_gpus > 1 && weights.seconds > 0, "weights go somewhere and take time");
    bench::render_publications({weights});
  });
  accepted([&] {
    const bench::CollectiveFile collectives = bench::collectives_from_json(file, "fuzz.json");
    const bench::Links links({collectives}, collectives.device_name);
    require(links.any() || collectives.figures.empty(), "figures say something of the links");
  });
  accepted([&] { bench::peers_from_json(file, "fuzz.json"); });
  accepted([&] { bench::plan_from_json("row", file); });
}

}  // namespace rlcpp::fuzz
