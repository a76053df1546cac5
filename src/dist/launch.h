// Which process of how many this is, found from the command line or from what a launcher left in the
// environment. A rank is (process, device): each process has a rank for every one of its devices, all
// processes have as many, and rank = process * devices + position in the list.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace rlcpp::dist {

// The command line's part; what is unset comes from the launcher.
struct LaunchRequest {
  std::optional<int> processes, process;
  std::string address;  // "host:port", or "file:PATH" for processes of one machine; empty: the launcher's
  std::string run_id;   // processes that come with another are refused; empty: the launcher's job
  std::vector<int> devices;  // GPUs of this process, a rank each; empty: local_process, or 0 if alone
};

struct Launch {
  int processes = 1;
  int process = 0;
  int local_process = 0;    // among those of this machine
  int local_processes = 1;  // of this machine; 0: unknown
  std::string address;      // empty only if there is one process
  std::string run_id;
  bool launched = false;  // somebody said which process this is
  std::vector<int> devices = {0};
  std::string source =
      "one process";  // for the banner: "Slurm step 812.0 (SLURM_PROCID, SLURM_STEP_NUM_TASKS)"

  int local_ranks() const { return static_cast<int>(devices.size()); }
  int ranks() const { return processes * local_ranks(); }
  int first_rank() const { return process * local_ranks(); }
};

using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment system_environment();

// Looks at the command line, then at Open MPI, torchrun, PMI and Slurm. The innermost launcher counts: mpirun
// and torchrun run inside Slurm jobs, whose variables then describe the job and not this process. Sources
// that should agree and do not, and values that are no numbers or out of range, are bad_input with both
// named; so are an address of a wrong form and a meeting file named in a folder that is not there.
Launch find_launch(const LaunchRequest& request, const Environment& environment = system_environment());

// The first host of a Slurm node list: "gpu[03-07,11]-ib,login1" -> "gpu03-ib".
std::string first_host(const std::string& nodelist);

}  // namespace rlcpp::dist
