// SIGINT, SIGTERM and SIGHUP (a terminal that closes; not under nohup) set a flag that loops look at: the
// step is finished and saved, then the process leaves with 130, or with 143. The second signal ends the
// process at once; the same one again within a second (20 ms for SIGINT) is the first, sent twice as
// `timeout` does.
#pragma once

#include <string>

namespace rlcpp {

// What the first signal says on stderr at once: "SIGINT: <plan>; again to stop at once".
struct StopNotice {
  std::string plan = "finishing what is under way";
  bool json = false;   // as an object of a JSON log
  bool quiet = false;  // says nothing: of several processes that are stopped together, one speaks
};

// Idempotent; the last notice counts. System calls are restarted (SA_RESTART), so a save in progress is not
// cut short by the first signal.
void install_signal_handlers(const StopNotice& notice = {});
// 0, or the number of the signal that asked to stop.
int stop_signal();
void request_stop(int signal);  // as if it had arrived; for tests
void clear_stop();

}  // namespace rlcpp
