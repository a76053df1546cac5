// Speed of a tokenizer on one thread: text of each file in documents of about 4 KiB.
//   bench_tokenizer TOKENIZER FILE... [--passes N]
// TOKENIZER: a tokenizer.json or the directory that holds it. A line a file: bytes, tokens, and MB/s of
// processor time (10^6 bytes a second) of the first pass, which meets every word for the first time, and of
// the fastest of N more. Processor time, so that a busy machine does not count. tools/tokenizer_speed.py
// makes the files and asks HF too.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::tokenizer {
namespace {

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

constexpr std::size_t kDocument = 4096;

// Cut behind the line that passes 4 KiB, so that no word is cut.
std::vector<std::string> documents_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t line = text.find('\n', std::min(begin + kDocument, text.size()));
    const std::size_t end = line == std::string::npos ? text.size() : line + 1;
    out.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

int run(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  int passes = 3;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--passes" && i + 1 < words.size()) {
      passes = std::max(1, std::stoi(words[++i]));
    } else {
      names.push_back(words[i]);
    }
  }
  if (names.size() < 2) throw bad_input("usage: bench_tokenizer TOKENIZER FILE... [--passes N]");
  for (std::size_t i = 1; i < names.size(); ++i) {
    const double before = processor_seconds();
    const Tokenizer tokenizer = Tokenizer::load(names[0]);
    const double load = processor_seconds() - before;
    const std::string text = durable::read_file(names[i]);
    const std::vector<std::string> documents = documents_of(text);
    double first = 0, best = 0;
    std::size_t tokens = 0;
    for (int pass = 0; pass <= passes; ++pass) {
      tokens = 0;
      const double begin = processor_seconds();
      for (const std::string& document : documents) tokens += tokenizer.encode(document).size();
      const double seconds = processor_seconds() - begin;
      if (pass == 0) first = seconds;
      if (pass == 1 || (pass > 1 && seconds < best)) best = seconds;
    }
    const double megabytes = static_cast<double>(text.size()) / 1e6;
    fmt::print("{} {} bytes {} tokens, first pass {:.2f} MB/s, later {:.2f} MB/s, loaded in {:.2f} s\n",
               names[i], text.size(), tokens, megabytes / first, megabytes / best, load);
  }
  return 0;
}

}  // namespace
}  // namespace rlcpp::tokenizer

int main(int count, char** arguments) {
  try {
    return rlcpp::tokenizer::run({arguments + 1, arguments + count});
  } catch (const rlcpp::Error& error) {
    std::fputs(error.render().c_str(), stderr);
    return static_cast<int>(error.code());
  }
}
