#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "env/builtin.h"

namespace rlcpp::env {
namespace {

struct Entry {
  const char* id;
  std::unique_ptr<Environment> (*make)(const std::string& name, Arguments& arguments);
};

constexpr std::array kBuiltin = {
    Entry{"reverse-text", make_reverse_text},
    Entry{"arithmetic", make_arithmetic},
    Entry{"alphabet-sort", make_alphabet_sort},
};

// Errors of the data name the file, not who asked for it.
Error with_place(const Error& error, const std::string& name, const Places& places) {
  const std::string what = error.what();
  const bool placed = std::any_of(places.begin(), places.end(),
                                  [&](const auto& place) { return what.starts_with(place.second + ": "); });
  auto args = places.find("args.data");
  if (args == places.end()) args = places.find("args");
  if (placed || args == places.end()) return error;
  return Error(error.code(), fmt::format("{} (args of environment '{}', {})", what, name, args->second),
               error.because(), error.help());
}

}  // namespace

std::vector<std::string> environment_ids() {
  std::vector<std::string> ids;
  ids.reserve(kBuiltin.size());
  for (const Entry& entry : kBuiltin) ids.emplace_back(entry.id);
  return ids;
}

std::unique_ptr<Environment> make_environment(const std::string& id, const std::string& name,
                                              const std::string& args_json, const Places& places) {
  for (const Entry& entry : kBuiltin) {
    if (id != entry.id) continue;
    const std::string shown = name.empty() ? id : name;
    Arguments arguments(args_json, shown, places);
    try {
      return entry.make(shown, arguments);
    } catch (const Error& e) {
      throw with_place(e, shown, places);
    }
  }
  const auto place = places.find("id");
  throw bad_input(
      fmt::format("{}there is no environment '{}'", place == places.end() ? "" : place->second + ": ", id),
      fmt::format("built in are {}", fmt::join(environment_ids(), ", ")), "set env.id to one of them");
}

}  // namespace rlcpp::env
