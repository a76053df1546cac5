#include <fmt/format.h>
#define PCRE2_CODE_UNIT_WIDTH 8  // pcre2.h wants it
#include <pcre2.h>
#include <utf8proc.h>

#include <nlohmann/json.hpp>

#include "app/cli_text.h"
#include "app/version.h"
#include "ops/context.h"
#include "tensor/device.h"

namespace rlcpp::app {
namespace {

std::string pcre2_version() {
  char text[64] = {};
  if (pcre2_config(PCRE2_CONFIG_VERSION, nullptr) >= static_cast<int>(sizeof(text))) return "unknown";
  pcre2_config(PCRE2_CONFIG_VERSION, text);
  const std::string full = text;  // "10.42 2022-12-11"
  return full.substr(0, full.find(' '));
}

}  // namespace

std::string version_text(bool json) {
  nlohmann::ordered_json facts;
  facts["version"] = version();
  facts["commit"] = commit_text();
#if defined(__clang__)
  facts["compiler"] = fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  facts["compiler"] = fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
  facts["cpu"] = fmt::format("{}, kernels for {}", cpu_name(), ops::instruction_set());
  facts["cuda"] = cuda::version();
  facts["libraries"] = {
      {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                    NLOHMANN_JSON_VERSION_PATCH)},
      {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"toml++", config::toml_library_version()},
      {"pcre2", pcre2_version()},
      {"utf8proc", utf8proc_version()},
  };
  if (json) return facts.dump(2) + '\n';
  std::string libraries;
  for (const auto& [name, number] : facts["libraries"].items()) {
    libraries += fmt::format("{}{} {}", libraries.empty() ? "" : ", ", name, number.get<std::string>());
  }
  const auto fact = [&](const char* name) { return facts[name].get<std::string>(); };
  return fmt::format(
      "rlcpp {} (commit {})\n  compiler   {}\n  cpu        {}\n  cuda       {}\n  libraries  {}\n",
      fact("version"), fact("commit"), fact("compiler"), fact("cpu"), fact("cuda"), libraries);
}

}  // namespace rlcpp::app
