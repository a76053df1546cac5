#include "base/readable.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace rlcpp {

namespace fs = std::filesystem;

void require_readable_directory(const std::string& path, const std::string& what) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) || access(path.c_str(), R_OK | X_OK) == 0) return;
  throw bad_input(what + " = \"" + path + "\" cannot be read",
                  std::string("the system says: ") + std::strerror(errno),
                  "check the owner and permissions of the directory");
}

void require_writable(const std::string& path, const std::string& what) {
  fs::path there = fs::absolute(path);
  std::error_code ignored;
  // A file is written beside its place, then renamed.
  while (!fs::is_directory(there, ignored) && there.has_relative_path()) {
    there = there.parent_path();
    if (fs::exists(there, ignored) && !fs::is_directory(there, ignored)) {
      throw bad_input("cannot write in " + what + " = \"" + path + "\"", there.string() + " is a file",
                      "choose another directory");
    }
  }
  if (access(there.c_str(), W_OK | X_OK) == 0) return;
  const std::string why = std::strerror(errno);
  throw environment_error("cannot write in " + what + " = \"" + path + "\"",
                          "of " + there.string() + " the system says: " + why,
                          "choose another directory, or give yourself the right to write there");
}

void require_writable_file(const std::string& path, const std::string& what) {
  if (path.empty())
    throw bad_input(what + " is empty", "it names the file to write", "name a file, or leave it out");
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw bad_input("cannot write " + what + " = \"" + path + "\"", "it is a directory",
                    "name a file in it: " + (fs::path(path) / "result.json").string());
  }
  require_writable(path, what);
}

}  // namespace rlcpp
