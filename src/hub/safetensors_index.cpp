#include "hub/safetensors_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"

namespace rlcpp::hub {
namespace {

bool plain_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.front() != '.' && name.find('/') == std::string_view::npos &&
         name.find('\\') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

}  // namespace

std::map<std::string, std::string> read_safetensors_index(const std::string& path) {
  const char* help = "download the model again";
  const nlohmann::json index = parse_json(durable::read_file(path));
  if (index.is_discarded()) throw bad_input(path + ": not valid JSON", {}, help);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    throw bad_input(path + ": has no weight_map", "an index maps every tensor to the file that holds it",
                    help);
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !plain_name(file.get_ref<const std::string&>())) {
      throw bad_input(
          fmt::format("{}: tensor '{}' is mapped to {}", path, printable(tensor), printable(file.dump())),
          "a shard must be the plain name of a .safetensors file beside the index", help);
    }
    files.emplace(tensor, file.get<std::string>());
  }
  return files;
}

}  // namespace rlcpp::hub
