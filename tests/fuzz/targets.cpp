#include "fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"

namespace rlcpp::fuzz {

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all = {
      {"broadcast", broadcast},
      {"chat_template", chat_template},
      {"command_line", command_line},
      {"data_card", data_card},
      {"data_rows", data_rows},
      {"gguf", gguf},
      {"manifest", manifest},
      {"parquet", parquet},
      {"result_file", result_file},
      {"rollouts", rollouts},
      {"safetensors", safetensors},
      {"tokenizer_json", tokenizer_json},
      {"toml", toml},
  };
  return all;
}

void broken(const char* what) {
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

bool is_refusal(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours == nullptr || ours->code() != ExitCode::kBadInput) return false;
  require(!std::string(ours->what()).empty() && !ours->render().empty(), "a refusal says something");
  return true;
}

MemoryFile::MemoryFile(std::string_view bytes) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
  require(fd_ >= 0, "memfd_create");
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t written = write(fd_, bytes.data() + at, bytes.size() - at);
    require(written > 0, "write");
    at += static_cast<std::size_t>(written);
  }
  path_ = "/proc/self/fd/" + std::to_string(fd_);
}

MemoryFile::~MemoryFile() {
  close(fd_);
}

}  // namespace rlcpp::fuzz
