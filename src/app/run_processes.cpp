#include "app/run_processes.h"

#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <span>
#include <thread>

#include <fmt/format.h>

#include "app/run_start.h"
#include "app/run_terms.h"
#include "base/durable.h"
#include "base/signals.h"
#include "base/wait.h"

namespace rlcpp::app {
namespace {

std::string speaker(const RankSetup& ranks) {
  const int first = ranks.launch.first_rank(), last = first + ranks.local() - 1;
  return first == last ? fmt::format("rank {}: ", first) : fmt::format("ranks {}-{}: ", first, last);
}

}  // namespace

void meet(RankSetup& ranks, const std::string& command, const std::string& configuration, bool dry_run,
          Logger& log) {
  if (ranks.launch.processes == 1) return;
  if (!ranks.first()) {
    log.speak_as(speaker(ranks), LogLevel::kWarn);
    install_signal_handlers({.plan = {}, .json = false, .quiet = true});
  }
  if (dry_run) return;
  dist::WorldOptions options = ranks.world_options();
  const std::string prefix = ranks.first() ? "" : speaker(ranks);
  options.leave = [prefix](const std::string& text, ExitCode code) {
    std::fprintf(stderr, "%s%s\n", prefix.c_str(), text.c_str());
    std::fflush(nullptr);
    _exit(static_cast<int>(code));  // no destructors: one of them may be what hangs
  };
  options.meeting = {terms_of(command, configuration, ranks.device),
                     [&log](const std::string& text) { log.info(text); },
                     [&log](const std::string& text) { log.warn(text); }};
  try {
    ranks.world = std::make_shared<dist::World>(std::move(options));
  } catch (const Error& error) {
    const Error spoken = with_speaker(ranks, error);
    throw NotMet(spoken.code(), spoken.what(), spoken.because(), spoken.help());
  }
}

bool tell_others(const RankSetup& ranks, const Error& error) {
  if (ranks.world == nullptr) return true;
  if (!ranks.world->failed()) {
    ranks.world->fail({fmt::format("rank {} failed: {}", ranks.launch.first_rank(), error.what()),
                       error.because(), error.help(), error.code()});
  }
  return ranks.first() || error.code() != ExitCode::kBadInput;
}

Error with_speaker(const RankSetup& ranks, const Error& error) {
  if (ranks.first()) return error;
  return {error.code(), speaker(ranks) + error.what(), error.because(), error.help()};
}

int agreed_stop(RankTeam& team, const RankSetup& ranks, Logger& log) {
  const int mine = stop_signal();
  if (ranks.launch.processes == 1) return mine;
  const int agreed = static_cast<int>(team.largest(mine, "whether to stop"));
  if (agreed != 0 && mine == 0 && ranks.first())
    log.info(signal_name(agreed) + " has reached another process: all stop here");
  return agreed;
}

std::optional<transport::RolloutBatch> receive_together(transport::RolloutReceiver& receiver,
                                                        std::int64_t step, transport::WaitOptions wait,
                                                        RankTeam& team, const RankSetup& ranks, int* signal,
                                                        Logger& log) {
  const auto at_it = [&team, doing = fmt::format("waits for the rollouts of step {}", step)] {
    team.note(doing);
  };
  if (ranks.launch.processes == 1) {
    wait.stop = [at_it, stop = wait.stop] {
      at_it();
      return stop && stop();
    };
    return receiver.receive(step, wait);
  }
  using Clock = std::chrono::steady_clock;
  // A look at the files, then a word with the others; so no collective lasts as long as the orchestrator.
  constexpr std::chrono::milliseconds kRound{500};
  // The first process speaks of it.
  const Wait limit("the orchestrator", fmt::format("rollouts of step {}", step),
                   ranks.first() ? wait.soft : wait.hard, wait.hard);
  std::optional<transport::RolloutBatch> batch;
  for (;;) {
    if (!batch.has_value()) {
      const auto end = Clock::now() + kRound;
      wait.stop = [end, at_it] {
        at_it();
        return stop_signal() != 0 || Clock::now() >= end;
      };
      batch = receiver.receive(step, wait);
    }
    *signal = agreed_stop(team, ranks, log);
    if (*signal != 0) return std::nullopt;
    if (team.largest(batch.has_value() ? 0 : 1, "whether rollouts are missing") == 0) return batch;
    limit.check();
  }
}

void share_run(RankTeam& team, const RankSetup& ranks, RunDirectory& directory, std::string_view data) {
  std::uint32_t number = 0;
  const std::string& mine = directory.run_id();
  std::from_chars(mine.data(), mine.data() + mine.size(), number, 16);
  const double crc = durable::crc32c(std::as_bytes(std::span(data)));
  // One entry a rank; ranks of a process that are not its first have none.
  const auto all = team.exchange({static_cast<double>(number), crc}, "the name of the run and its data");
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty() || all[rank][1] == all.front()[1]) continue;
    throw bad_input(fmt::format("rank {} has other data than rank 0", rank),
                    "files of the same names differ between the processes of this run",
                    "give all processes the same files: a path that means the same everywhere");
  }
  directory.set_run_id(fmt::format("{:08x}", static_cast<std::uint32_t>(all.front()[0])));

  const std::string mark = directory / (".together-" + directory.run_id());
  if (ranks.first()) durable::write_file(durable::system_files(), mark, "");
  team.exchange({0}, "the mark in output_dir");
  bool seen = std::filesystem::exists(mark);
  for (int i = 0; i < 50 && !seen; ++i) {  // a network's file system may know it a little later
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    seen = std::filesystem::exists(mark);
  }
  const auto found = team.exchange({seen ? 1.0 : 0.0}, "whether output_dir is one");
  if (ranks.first()) std::filesystem::remove(mark);
  for (std::size_t rank = 0; rank < found.size(); ++rank) {
    if (found[rank].empty() || found[rank][0] != 0) continue;
    throw bad_input(fmt::format("output_dir of rank {} is not the directory of rank 0", rank),
                    "all ranks write one checkpoint together",
                    "name a directory that all processes share with --output-dir");
  }
}

}  // namespace rlcpp::app
