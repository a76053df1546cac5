// A training run of several processes: the first speaks, and what could differ between them is agreed.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "app/run_directory.h"
#include "app/run_ranks.h"
#include "base/error.h"
#include "base/log.h"
#include "transport/transport.h"

namespace rlcpp::app {

// Why the processes of a run did not come together. None can rely on another to say it.
class NotMet : public Error {
 public:
  using Error::Error;
};

// Waits until all processes have met, so that from here on an error of one is known to all. Those other than
// the first are silent but for warnings and errors, which name their rank. A dry run meets nobody.
// Nothing happens with one process. `configuration`: the resolved one, of config::to_json; processes with
// another command or configuration are refused (run_terms.h). Throws what dist::World does as NotMet.
void meet(RankSetup& ranks, const std::string& command, const std::string& configuration, bool dry_run,
          Logger& log);

// Tells the others of an error that ends this process: they leave with the same exit code. False: this
// process need not print it, because the first does.
bool tell_others(const RankSetup& ranks, const Error& error);
Error with_speaker(const RankSetup& ranks, const Error& error);

// `body()`, whose errors end the run in all processes. Those other than the first leave what is wrong with
// configuration and input to the first to say. What `body` made of dist must live until this returns.
template <class Body>
auto together(const RankSetup& ranks, Body&& body) {
  try {
    return body();
  } catch (const NotMet&) {
    throw;
  } catch (const Error& error) {
    if (tell_others(ranks, error)) throw with_speaker(ranks, error);
    decltype(body()) outcome{};
    outcome.exit = error.code();
    outcome.first = false;
    return outcome;
  } catch (const std::exception& error) {
    tell_others(ranks, runtime_failure(error.what()));
    throw;
  }
}

// The signal that ends the run after the step before, the same in all processes, whichever it reached; 0:
// none. Collective.
int agreed_stop(RankTeam& team, const RankSetup& ranks, Logger& log);

// The rollouts of `step`, once every process has them; nullopt and `*signal`: one was asked to stop.
std::optional<transport::RolloutBatch> receive_together(transport::RolloutReceiver& receiver,
                                                        std::int64_t step, transport::WaitOptions wait,
                                                        RankTeam& team, const RankSetup& ranks, int* signal,
                                                        Logger& log);

// All processes call the run by the name that the first has given it. Throws bad_input where they have other
// data (`data`: what tells it apart, see data::Source::fingerprint) or an output_dir of their own.
// Collective.
void share_run(RankTeam& team, const RankSetup& ranks, RunDirectory& directory, std::string_view data);

}  // namespace rlcpp::app
