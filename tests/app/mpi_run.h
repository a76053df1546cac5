// `rlcpp` as the processes of mpirun.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "sft_run.h"

namespace rlcpp::test {

inline std::string mpirun() {
  for (const char* place : {"/usr/bin/mpirun", "/usr/local/bin/mpirun", "/opt/openmpi/bin/mpirun"}) {
    if (std::filesystem::exists(place)) return place;
  }
  return "";
}

// Why no process of several can run here; empty: they can.
inline std::string no_mpi() {
  if (!std::filesystem::exists(std::filesystem::path(RLCPP_BINARY).parent_path() / "rlcpp_mpi.so"))
    return "this build found no MPI (mpi.h)";
  return mpirun().empty() ? "mpirun is not installed" : "";
}

// A process for each list of words, in its folder of `folders` if there is one.
inline pid_t start_mpi(const std::vector<std::vector<std::string>>& processes, const std::string& out,
                       const std::string& err, const std::vector<std::string>& folders = {}) {
  std::vector<std::string> all = {mpirun(), "--oversubscribe"};
  if (getuid() == 0) all.emplace_back("--allow-run-as-root");
  for (std::size_t p = 0; p < processes.size(); ++p) {
    if (p > 0) all.emplace_back(":");
    all.insert(all.end(), {"-n", "1"});
    if (p < folders.size()) all.insert(all.end(), {"-wdir", folders[p]});
    all.emplace_back(RLCPP_BINARY);
    all.insert(all.end(), processes[p].begin(), processes[p].end());
  }
  std::vector<char*> argv;
  for (std::string& word : all) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  // On few cores the ranks must not spin against each other.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 1);
  dup2(open(out.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDOUT_FILENO);
  dup2(open(err.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

// Processes of the binary that were given a path in `folder`, by their rank.
inline std::vector<pid_t> processes_in(const std::string& folder) {
  std::vector<std::pair<int, pid_t>> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = slurp(entry.path() / "cmdline");
    if (!words.starts_with(RLCPP_BINARY) || words.find(folder) == std::string::npos) continue;
    const std::string around = std::string(1, '\0') + slurp(entry.path() / "environ");
    const std::string key = std::string(1, '\0') + "OMPI_COMM_WORLD_RANK=";
    const auto at = around.find(key);
    found.emplace_back(at == std::string::npos ? -1 : std::stoi(around.substr(at + key.size())),
                       std::stoi(name));
  }
  std::sort(found.begin(), found.end());
  std::vector<pid_t> out;
  for (const auto& [rank, pid] : found) out.push_back(pid);
  return out;
}

class MpiWorld : public SftWorld {
 public:
  ProcessOutcome mpi(const std::vector<std::vector<std::string>>& processes,
                     const std::vector<std::string>& folders = {}) const {
    const int code = wait_for(start_mpi(processes, *this / "mpi.out", *this / "mpi.err", folders));
    return {code, slurp(*this / "mpi.out"), slurp(*this / "mpi.err")};
  }
  ProcessOutcome mpi(int count, const std::vector<std::string>& words) const {
    return mpi(std::vector<std::vector<std::string>>(static_cast<std::size_t>(count), words));
  }

  std::vector<pid_t> processes() const { return processes_in(dir().path()); }
  void expect_no_orphan() const {
    for (int i = 0; i < 500 && !processes().empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(processes().empty());
  }

  // |a - b| / |b| of the masters of two checkpoints.
  double distance(const std::string& a, const std::string& b, int step) const {
    const auto values = [&](const std::string& out) {
      const std::string text =
          slurp(*this / (out + "/checkpoints/step_" + std::to_string(step) + "/trainer/weights.safetensors"));
      std::uint64_t header = 0;
      if (text.size() < 8) return std::vector<float>();
      std::memcpy(&header, text.data(), 8);
      std::vector<float> floats((text.size() - 8 - header) / 4);
      std::memcpy(floats.data(), text.data() + 8 + header, floats.size() * 4);
      return floats;
    };
    const std::vector<float> x = values(a), y = values(b);
    if (x.empty() || x.size() != y.size()) return INFINITY;
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      difference += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
      norm += std::pow(static_cast<double>(y[i]), 2);
    }
    return std::sqrt(difference / norm);
  }
};

inline std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace rlcpp::test
