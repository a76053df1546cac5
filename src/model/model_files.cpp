#include "model/model_files.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "hub/safetensors_index.h"

namespace rlcpp::model {

ModelFiles::ModelFiles(const std::string& dir) : dir_(dir) {
  const std::string single = dir + "/model.safetensors";
  const std::string index = dir + "/model.safetensors.index.json";
  std::error_code ignored;
  // As in transformers, the single file wins where both exist.
  if (std::filesystem::exists(single, ignored)) {
    open(single);
    return;
  }
  if (!std::filesystem::exists(index, ignored)) {
    throw bad_input(dir + ": no model weights",
                    "there is neither model.safetensors nor model.safetensors.index.json",
                    "check the path, or save the model in the safetensors format");
  }
  const std::map<std::string, std::string> promised = hub::read_safetensors_index(index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : promised) names.insert(file);
  for (const std::string& name : names) open(dir + "/" + name);
  for (const auto& [tensor, file] : promised) {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end() || found->second.path != dir + "/" + file) {
      throw bad_input(fmt::format("{}: tensor '{}' is not in {}", index, tensor, file),
                      "the index promises it there", "download the model again");
    }
  }
}

void ModelFiles::open(const std::string& path) {
  const hub::SafetensorsFile& file = files_.emplace_back(path);
  for (const auto& [name, tensor] : file.tensors()) {
    const auto [place, fresh] = tensors_.try_emplace(name, Entry{&file, &tensor, path});
    if (!fresh) {
      throw bad_input(fmt::format("{}: tensor '{}' is there twice", path, name),
                      "it is also in " + place->second.path, "download the model again");
    }
  }
}

}  // namespace rlcpp::model
