// gpu_facts: measures on one GPU the facts that docs/performance.md rests on. Each section runs in a process
// of its own, so that a fault in one leaves the others and their memory figures alone.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common.h"
#include "sections.h"

namespace {

struct Section {
  const char* name;
  const char* what;
  void (*run)();
  int seconds;  // it is ended after these
};

using namespace gpu_facts;

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {
      {"device", "name, clocks, memory of a context and the libraries, bandwidths", device_section, 40},
      {"attention", "cuDNN attention: times, bits, workspace, packed documents, capture", attention_section,
       90},
      {"launch", "graphs of tiny kernels, dependent launch, plain launches", launch_section, 20},
      {"order", "chunked accumulation and our own kernels with a fixed K order", order_section, 50},
      {"algos", "whether cuBLASLt's algorithms agree bit for bit; f32 output and accumulation", algos_section,
       60},
      {"matmul", "whether a row of a cuBLASLt product depends on M, and the price of one algorithm",
       matmul_section, 110},
  };
  return all;
}

void help() {
  std::printf(
      "usage: gpu_facts [SECTION...]\n"
      "Measures one GPU; prints a JSON object a line and a table at the end. Sections (default: all, in this "
      "order):\n");
  for (const Section& section : sections()) {
    std::printf("  %-10s %s (at most %d s)\n", section.name, section.what, section.seconds);
  }
  std::printf(
      "cuBLASLt (libcublasLt.so.13), cuDNN (libcudnn.so.9) and the CUDA runtime (libcudart.so.13) are loaded "
      "through\n"
      "LD_LIBRARY_PATH. Exit code: 0 if every section ran to its end, 1 if one did not, 2 for a wrong "
      "argument.\n");
}

// Runs the section in a child, passes its lines on and keeps their table rows. False if it did not end well
// in time.
bool run_child(const char* self, const Section& section, std::vector<std::string>& rows) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl(self, self, "--child", section.name, static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  const auto begin = std::chrono::steady_clock::now();
  std::thread reader([&] {
    FILE* const stream = fdopen(ends[0], "r");
    char* text = nullptr;
    std::size_t capacity = 0;
    while (getline(&text, &capacity, stream) > 0) {
      std::fputs(text, stdout);
      std::fflush(stdout);
      const Json line = Json::parse(text, nullptr, false);
      if (line.is_object() && line.contains("row")) rows.push_back(line["row"].get<std::string>());
    }
    std::free(text);
    std::fclose(stream);
  });
  int status = 0;
  bool late = false;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(section.seconds)) {
      late = true;
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  reader.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const bool fine = !late && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  Json line;
  line["section"] = section.name;
  line["seconds"] = seconds;
  line["ended"] = late ? "stopped at its limit" : fine ? "normally" : "with a fault";
  if (WIFSIGNALED(status)) line["signal"] = WTERMSIG(status);
  const std::string row = std::string(section.name) + " ended " + line["ended"].get<std::string>() +
                          " after " + std::to_string(static_cast<int>(seconds + 0.5)) + " s";
  rows.push_back(row);
  emit(line, row);
  return fine;
}

const Section* find(std::string_view name) {
  for (const Section& section : sections()) {
    if (name == section.name) return &section;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<const Section*> chosen;
  if (argc == 3 && std::string_view(argv[1]) == "--child") {
    const Section* const section = find(argv[2]);
    if (section == nullptr) return 2;
    return guarded(section->name, section->name, section->run) ? 0 : 1;
  }
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      help();
      return 0;
    }
    const Section* const section = find(argument);
    if (section == nullptr) {
      std::fprintf(stderr, "error: there is no section %s: see gpu_facts --help\n", argv[i]);
      return 2;
    }
    chosen.push_back(section);
  }
  if (chosen.empty()) {
    for (const Section& section : sections()) chosen.push_back(&section);
  }
  bool fine = true;
  std::vector<std::string> table;
  for (const Section* section : chosen) {
    std::vector<std::string> rows;
    fine = run_child("/proc/self/exe", *section, rows) && fine;
    table.push_back("== " + std::string(section->name));
    table.insert(table.end(), rows.begin(), rows.end());
  }
  std::printf("\n");
  for (const std::string& row : table) std::printf("%s\n", row.c_str());
  return fine ? 0 : 1;
}
