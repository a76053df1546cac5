// What `rlcpp doctor` looks at: one function a matter, each returns what it found. Nothing is changed,
// nothing is downloaded, no address is asked.
#pragma once

#include <string>
#include <vector>

namespace rlcpp::app {

// kOk: found. kMissing: not here, and something that a user may want does not work. kProblem: something is
// here that cannot be used as it is. kInfo: a fact.
enum class Health { kOk, kMissing, kProblem, kInfo };

struct Check {
  Health health = Health::kInfo;
  std::string name;   // "cuBLASLt"
  std::string found;  // "13.1.0, /usr/lib/libcublasLt.so.13"
  std::string help;   // what to do; empty if nothing is to be done
};

std::vector<Check> check_machine();    // processor, memory, operating system
std::vector<Check> check_gpus();       // driver, GPUs, and the libraries that they need
std::vector<Check> check_libraries();  // what is opened when it is first used, besides CUDA's
std::vector<Check> check_places();     // caches and temporary files: there, writable, room

// A library as the loader finds it: the first of `names` that can be opened, the file, and what `version`
// says of it.
struct FoundLibrary {
  void* handle = nullptr;  // nullptr: none could be opened; never closed
  std::string path;
  std::string why;  // the loader's words for the first name
};
FoundLibrary find_library(const std::vector<std::string>& names);

// A folder that is made when it is needed: itself or the nearest one above it that exists must be writable.
Check check_folder(const std::string& name, const std::string& path, double room_wanted);

}  // namespace rlcpp::app
