// Cases of a scenario, counted, and the table of all of them.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "support.h"

namespace rlcpp::test {

// One row of the table: what was done how often. Rows are printed when the program ends, and written as
// Markdown to the file that RLCPP_DURABILITY_SUMMARY names.
class Tally {
 public:
  // `scenario`: K1, C1, ... `wanted`: cases that the long tier must have.
  Tally(std::string scenario, std::string what, int wanted);
  ~Tally();
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

  // A case: it passed if no expectation failed in it.
  void run(const std::string& name, const std::function<void()>& body);
  // Cases that a loop has counted for itself.
  void add(int passed, int failed);
  // True after so many failures that more would say nothing new.
  bool hopeless() const { return failed_ >= 5; }
  int count() const { return passed_ + failed_; }

 private:
  std::string scenario_, what_;
  int wanted_, passed_ = 0, failed_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace rlcpp::test
