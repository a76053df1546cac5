// Shared by the durability tests: a checkpoint of three files, one in a folder, whose contents are a function
// of the step.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <system_error>

#include "base/durable.h"

namespace rlcpp::test {

// A directory in memory where there is one: these tests sync thousands of times, and none of them pulls the
// plug.
class FastDirectory {
 public:
  FastDirectory() {
    const bool memory = access("/dev/shm", W_OK | X_OK) == 0;
    std::string pattern =
        (memory ? std::string("/dev/shm") : std::filesystem::temp_directory_path().string()) +
        "/rlcpp-test-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~FastDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  FastDirectory(const FastDirectory&) = delete;
  FastDirectory& operator=(const FastDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::map<std::string, std::string> contents_of(std::int64_t step) {
  return {{"weights/model.safetensors", std::string(300, static_cast<char>('a' + step % 26))},
          {"optimizer.bin", "moments of step " + std::to_string(step)},
          {"empty", ""}};
}

inline void save(durable::FileLayer& files, const std::string& root, std::int64_t step,
                 const std::string& run = "run-7") {
  durable::AtomicDirectory directory(files, root + "/step_" + std::to_string(step), run);
  for (const auto& [name, content] : contents_of(step)) {
    const auto bytes = std::as_bytes(std::span(content));
    if (name.starts_with("weights/")) {  // as the background writer does it
      auto parts = directory.create(name, bytes.size());
      if (parts.write(0, bytes)) parts.finish();
      continue;
    }
    auto writer = directory.create(name);
    writer.write(bytes.first(bytes.size() / 3));
    writer.write(bytes.subspan(bytes.size() / 3));
    writer.finish();
  }
  directory.commit("{\"step\": " + std::to_string(step) + "}");
}

// Empty if step N is whole and holds exactly its own contents, else what is wrong.
inline std::string fault_of(const std::string& root, std::int64_t step) {
  const std::string path = root + "/step_" + std::to_string(step);
  try {
    if (durable::verify_directory(path) != "{\"step\":" + std::to_string(step) + "}")
      return "facts of another step";
    for (const auto& [name, content] : contents_of(step)) {
      if (durable::read_file(path + "/" + name) != content) return name + " has other contents";
    }
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace rlcpp::test
