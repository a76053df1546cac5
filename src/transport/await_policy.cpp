#include <set>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/wait.h"
#include "transport/transport.h"

namespace rlcpp::transport {

std::optional<Publication> await_policy(WeightReceiver& receiver, std::int64_t first, std::int64_t last,
                                        const model::ModelConfig& config, const model::WeightSet& spare,
                                        const model::WeightSet& live, ThreadPool* pool,
                                        const WaitOptions& options) {
  Wait wait("the trainer",
            first == last ? fmt::format("weights of step {}", first)
                          : fmt::format("weights of step {} or later", first),
            options.soft, options.hard);
  std::set<std::string> told;
  std::string newest_refusal;
  while (!options.stop || !options.stop()) {
    // From the newest down, until one can be loaded.
    for (auto step = receiver.newest(first, last); step.has_value();
         step = receiver.newest(first, *step - 1)) {
      try {
        return receiver.load(*step, config, spare, live, pool);
      } catch (const Error& e) {
        newest_refusal = fmt::format("{} ({})", e.what(), e.because());
        if (told.insert(newest_refusal).second && options.refused) options.refused(newest_refusal);
      }
    }
    try {
      wait.check();
    } catch (const Error& e) {
      if (newest_refusal.empty()) throw;
      throw Error(e.code(), e.what(), e.because() + "; refused was " + newest_refusal, e.help());
    }
    std::this_thread::sleep_for(options.poll);
  }
  return std::nullopt;
}

}  // namespace rlcpp::transport
