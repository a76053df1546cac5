#include "dist/launch.h"

#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.h"
#include "dist/address.h"

namespace rlcpp::dist {
namespace {

// One source of ranks. The names are kept for messages.
struct Found {
  std::string source;
  std::string processes_name, process_name;
  int processes = 1, process = 0;
  std::optional<int> local_process, local_processes;
  std::string address, run_id;
  std::optional<Error> no_address;  // why what it says is none, for whoever needs one

  std::string text() const {
    return fmt::format("{} ({}={}, {}={})", source, process_name, process, processes_name, processes);
  }
};

class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  std::optional<int> number(const char* name) const {
    const auto text = environment_(name);
    if (!text || text->empty()) return std::nullopt;
    int value = 0;
    const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (code != std::errc() || end != text->data() + text->size() || value < 0) {
      throw bad_input(fmt::format("{}={} in the environment is not a whole number >= 0", name, *text),
                      "ranks are read from it", "unset it, or start with the launcher that sets it");
    }
    return value;
  }
  std::string text(const char* name) const { return environment_(name).value_or(""); }

  // Both or none: half of a launcher's variables is what is left of another program.
  std::optional<Found> pair(const char* source, const char* process_name, const char* processes_name) const {
    const auto process = number(process_name), processes = number(processes_name);
    if (!process && !processes) return std::nullopt;
    if (!process || !processes) {
      throw bad_input(
          fmt::format("{} is set in the environment and {} is not", process ? process_name : processes_name,
                      process ? processes_name : process_name),
          fmt::format("{} sets both", source), "set both, or unset the one that is there");
    }
    Found found;
    found.source = source;
    found.process_name = process_name;
    found.processes_name = processes_name;
    found.process = *process;
    found.processes = *processes;
    if (found.processes < 1 || found.process >= found.processes) {
      throw bad_input(fmt::format("{}: there is no such process", found.text()),
                      "processes count from 0 to their number - 1", "");
    }
    return found;
  }

 private:
  const Environment& environment_;
};

// mpirun on one machine names no address. Its processes meet in a file that belongs to this user and job.
std::string meeting_file(const std::string& job) {
  std::string name;
  for (const char c : job) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    name += plain ? c : '_';
  }
  return fmt::format("file:{}/{}", own_meeting_folder(), name);
}

std::optional<Found> open_mpi(const Reader& env) {
  auto found = env.pair("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
  if (!found) return found;
  found->local_process = env.number("OMPI_COMM_WORLD_LOCAL_RANK");
  found->local_processes = env.number("OMPI_COMM_WORLD_LOCAL_SIZE");
  found->run_id = env.text("PMIX_NAMESPACE");
  if (found->run_id.empty()) found->run_id = env.text("OMPI_MCA_ess_base_jobid");
  if (found->local_processes == found->processes && !found->run_id.empty()) {
    found->address = meeting_file(found->run_id);
  }
  return found;
}

std::optional<Found> torchrun(const Reader& env) {
  auto found = env.pair("torchrun", "RANK", "WORLD_SIZE");
  if (!found) return found;
  found->local_process = env.number("LOCAL_RANK");
  found->local_processes = env.number("LOCAL_WORLD_SIZE");
  found->run_id = env.text("TORCHELASTIC_RUN_ID");
  const auto port = env.number("MASTER_PORT");
  if (const std::string host = env.text("MASTER_ADDR"); !host.empty() && port) {
    // torchrun's own store listens on MASTER_PORT; the next one is ours.
    const bool taken = env.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
    const char* const help = "set another port, or name the meeting place with --dist.address HOST:PORT";
    if (*port < 1 || *port > 65535) {
      found->no_address = bad_input(fmt::format("MASTER_PORT={} in the environment is no port", *port),
                                    "the ranks meet there; a port is a number from 1 to 65535", help);
    } else if (taken && *port == 65535) {
      found->no_address =
          bad_input("MASTER_PORT=65535 in the environment leaves the ranks no port to meet at",
                    "that port is torchrun's own, and they meet at the next", help);
    } else {
      found->address = fmt::format("{}:{}", host, *port + (taken ? 1 : 0));
    }
  }
  return found;
}

std::optional<Found> pmi(const Reader& env) {
  auto found = env.pair("PMI", "PMI_RANK", "PMI_SIZE");
  if (!found) return found;
  found->local_process = env.number("MPI_LOCALRANKID");
  found->local_processes = env.number("MPI_LOCALNRANKS");
  found->run_id = env.text("PMI_JOBID");
  if (found->local_processes == found->processes && !found->run_id.empty()) {
    found->address = meeting_file(found->run_id);
  }
  return found;
}

// Only inside a step: a batch script has the job's number of tasks and SLURM_PROCID=0, and starts one
// process.
std::optional<Found> slurm(const Reader& env) {
  // An interactive shell (salloc) and batch scripts are steps to Slurm, with ids from 0xfffffff0 up.
  if (const std::string id = env.text("SLURM_STEP_ID"); id.size() == 10 && id >= "4294967280") {
    return std::nullopt;
  }
  const auto step = env.number("SLURM_STEP_ID");
  if (!step) return std::nullopt;
  const bool has_step_size = env.number("SLURM_STEP_NUM_TASKS").has_value();
  auto found = env.pair("Slurm", "SLURM_PROCID", has_step_size ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
  if (!found) return found;
  const int job = env.number("SLURM_JOB_ID").value_or(0);
  found->source = fmt::format("Slurm step {}.{}", job, *step);
  found->run_id = fmt::format("{}.{}", job, *step);
  found->local_process = env.number("SLURM_LOCALID");
  std::string nodes = env.text("SLURM_STEP_NODELIST");
  if (nodes.empty()) nodes = env.text("SLURM_JOB_NODELIST");
  // A port for each step, outside the range from which systems choose themselves (32768 and up).
  if (!nodes.empty()) {
    found->address = fmt::format("{}:{}", first_host(nodes), 15000 + (job * 7 + *step) % 15000);
  }
  return found;
}

void require_equal(const Found& a, const Found& b) {
  if (a.process == b.process && a.processes == b.processes) return;
  throw bad_input(fmt::format("two sources name different ranks: {} and {}", a.text(), b.text()),
                  "a process is one rank or one group of ranks",
                  "start with one launcher only, or unset the variables of the other");
}

std::optional<Found> launcher(const Reader& env) {
  const auto mpi = open_mpi(env), torch = torchrun(env), by_pmi = pmi(env);
  auto by_slurm = slurm(env);
  if (mpi && torch) require_equal(*mpi, *torch);
  if (mpi && by_pmi) require_equal(*mpi, *by_pmi);
  if (torch && by_pmi) require_equal(*torch, *by_pmi);
  std::optional<Found> inner = mpi ? mpi : torch ? torch : by_pmi;
  if (mpi && torch) {
    if (!torch->address.empty()) inner->address = torch->address;
    inner->no_address = torch->no_address;
  }
  if (!inner) return by_slurm;
  if (!by_slurm) return inner;
  if (by_pmi && !mpi && !torch) {
    // srun --mpi=pmi2 sets both for the same processes.
    require_equal(*by_pmi, *by_slurm);
    if (inner->address.empty()) inner->address = by_slurm->address;
    if (!inner->local_process) inner->local_process = by_slurm->local_process;
  }
  inner->source += " inside " + by_slurm->source;
  return inner;
}

}  // namespace

Environment system_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

std::string first_host(const std::string& nodelist) {
  std::string host;
  for (std::size_t at = 0; at < nodelist.size() && nodelist[at] != ',';) {
    if (nodelist[at] != '[') {
      host += nodelist[at++];
      continue;
    }
    const std::size_t close = nodelist.find(']', at);
    if (close == std::string::npos) {
      throw bad_input(fmt::format("the Slurm node list \"{}\" has no closing bracket", nodelist), "",
                      "name the meeting point with --dist.address host:port");
    }
    const std::string inside = nodelist.substr(at + 1, close - at - 1);
    host += inside.substr(0, inside.find_first_of(",-"));
    at = close + 1;
  }
  return host;
}

Launch find_launch(const LaunchRequest& request, const Environment& environment) {
  const Reader env(environment);
  std::optional<Found> found = launcher(env);
  if (request.processes.has_value() != request.process.has_value()) {
    throw bad_input(
        fmt::format("dist.{} was given without dist.{}", request.process ? "process" : "processes",
                    request.process ? "processes" : "process"),
        "a process needs its number and how many there are", "give both");
  }
  if (request.process) {
    Found line;
    line.source = "the command line";
    line.process_name = "--dist.process";
    line.processes_name = "--dist.processes";
    line.process = *request.process;
    line.processes = *request.processes;
    if (line.processes < 1 || line.process < 0 || line.process >= line.processes) {
      throw bad_input(fmt::format("{}: there is no such process", line.text()),
                      "processes count from 0 to their number - 1", "");
    }
    if (found) {
      require_equal(line, *found);
      found->source = "the command line and " + found->source;
    } else {
      found = line;
    }
  }
  Launch launch;
  launch.address = request.address;
  launch.run_id = request.run_id;
  if (found) {
    launch.launched = true;
    launch.processes = found->processes;
    launch.process = found->process;
    launch.local_process = found->local_process.value_or(found->process);
    launch.local_processes = found->local_processes.value_or(found->processes == 1 ? 1 : 0);
    launch.source = found->source;
    if (!found->process_name.empty() && !found->process_name.starts_with("--")) {
      launch.source += fmt::format(" ({}, {})", found->process_name, found->processes_name);
    }
    if (launch.address.empty() && launch.processes > 1 && found->no_address) throw *found->no_address;
    if (launch.address.empty()) launch.address = found->address;
    if (launch.run_id.empty()) launch.run_id = found->run_id;
  }
  launch.devices = request.devices;
  if (launch.devices.empty()) launch.devices = {launch.processes == 1 ? 0 : launch.local_process};
  if (launch.processes > 1 && launch.address.empty()) {
    throw bad_input(
        fmt::format("{} processes were started and no address is known where they meet", launch.processes),
        "found by " + launch.source,
        "add --dist.address HOST:PORT with a host and a free port of process 0, the same for all");
  }
  if (launch.processes > 1) {
    const Address address = parse_address(launch.address);
    if (!request.address.empty()) require_meeting_folder(address);
  }
  return launch;
}

}  // namespace rlcpp::dist
