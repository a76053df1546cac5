// A configuration file.
#include "base/config_sample.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void toml(std::string_view bytes) {
  // Inheritance reads other files.
  if (bytes.find("toml_files") != std::string_view::npos) return;
  const MemoryFile file(bytes);
  test::Sample sample;
  if (!accepted([&] { test::load_into(sample, {"@", file.path()}); })) return;
  const std::string text = config::to_toml(config::describer(sample));
  const MemoryFile written(text);
  test::Sample again;
  test::load_into(again, {"@", written.path()});
  require(config::to_toml(config::describer(again)) == text, "resolved.toml says the configuration");
}

}  // namespace rlcpp::fuzz
