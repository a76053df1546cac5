#include "tally.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <vector>

#include <fmt/format.h>

namespace rlcpp::test {
namespace {

struct Row {
  std::string scenario, what;
  int wanted, passed, failed;
  double seconds;
};
std::vector<Row> rows;

int failures() {
  const ::testing::TestResult* result = ::testing::UnitTest::GetInstance()->current_test_info()->result();
  int count = 0;
  for (int i = 0; i < result->total_part_count(); ++i) count += result->GetTestPartResult(i).failed() ? 1 : 0;
  return count;
}

class Table : public ::testing::Environment {
 public:
  void TearDown() override {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.scenario < b.scenario; });
    std::string text =
        "| scenario | what | cases | passed | failed | seconds |\n|---|---|---:|---:|---:|---:|\n";
    for (const Row& r : rows) {
      text += fmt::format("| {} | {} | {} | {} | {} | {:.0f} |\n", r.scenario, r.what, r.passed + r.failed,
                          r.passed, r.failed, r.seconds);
    }
    std::cout << text;
    if (const char* path = std::getenv("RLCPP_DURABILITY_SUMMARY"); path != nullptr) {
      std::ofstream(path)
          << "<!-- written by test_durability in the long tier (tools/durability.sh) -->\n\n"
          << "# Durability\n\nScenarios of faults against real runs of tiny models; docs/testing.md says "
             "what each is.\n\n"
          << text;
    }
  }
};
// In memory where there is one: runs sync thousands of times here, and none of them pulls the plug.
const bool kFast = access("/dev/shm", W_OK | X_OK) == 0 && setenv("TMPDIR", "/dev/shm", 0) == 0;

const ::testing::Environment* const kTable = ::testing::AddGlobalTestEnvironment(new Table);

}  // namespace

Tally::Tally(std::string scenario, std::string what, int wanted)
    : scenario_(std::move(scenario)), what_(std::move(what)), wanted_(wanted) {}

Tally::~Tally() {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
  rows.push_back({scenario_, what_, wanted_, passed_, failed_, seconds.count()});
  if (long_tier()) {
    EXPECT_GE(count(), wanted_) << scenario_;
  }
  EXPECT_GT(count(), 0) << scenario_;
}

void Tally::run(const std::string& name, const std::function<void()>& body) {
  const int before = failures();
  {
    SCOPED_TRACE(scenario_ + " " + name);
    body();
  }
  ++(failures() == before ? passed_ : failed_);
}

void Tally::add(int passed, int failed) {
  passed_ += passed;
  failed_ += failed;
}

}  // namespace rlcpp::test
