// A command line: words are lines. The options of all commands, then the keys of a configuration.
#include <sstream>
#include <vector>

#include "app/cli_options.h"
#include "base/config_sample.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void command_line(std::string_view bytes) {
  std::vector<std::string> words;
  std::istringstream in{std::string(bytes)};
  for (std::string word; std::getline(in, word);) {
    // Files are the target toml's; which ones there are is no matter of the input.
    if (word != "@" && word.find('\0') == std::string::npos) words.push_back(word);
  }
  accepted([&] {
    const app::CommandLine line = app::parse_command_line(words, {});
    test::Sample sample;
    if (!accepted([&] { test::load_into(sample, line.invocation.arguments); })) return;
    // What was accepted is written and read to the same.
    const std::string text = config::to_toml(config::describer(sample));
    const MemoryFile file(text);
    test::Sample again;
    test::load_into(again, {"@", file.path()});
    require(config::to_toml(config::describer(again)) == text, "resolved.toml says the configuration");
  });
}

}  // namespace rlcpp::fuzz
