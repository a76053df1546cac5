// SIGINT and SIGTERM set a flag that loops look at: the step is finished and saved, then the process leaves
// with 130 or 143. The second signal ends the process at once.
#pragma once

namespace rlcpp {

// Idempotent. System calls are restarted (SA_RESTART), so a save in progress is not cut short by the first
// signal.
void install_signal_handlers();
// 0, or the number of the signal that asked to stop.
int stop_signal();
void request_stop(int signal);  // as if it had arrived; for tests
void clear_stop();

}  // namespace rlcpp
