// Names that are hub ids: where the hub and its cache are, and the directories that ids become.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/data_files.h"
#include "hub/repository.h"

namespace rlcpp::app {

// The hub and the cache that Python's programs would use here: HF_ENDPOINT, HF_TOKEN (or the file of `hf auth
// login`), HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HF_HUB_OFFLINE, as huggingface_hub documents them. They
// are read here and nowhere else. Progress and notes go to stderr.
hub::HubOptions hub_options();

// The directory of a model's id ("org/name", "org/name@revision"), downloaded unless the cache has it;
// nullopt if `name` cannot be an id. `weights`: else configuration and tokenizer alone. `key`: for errors,
// "model.name". Throws as hub::fetch_repository, saying what the name was taken for.
std::optional<std::string> hub_model(const std::string& name, bool weights, const std::string& key);

// The same of a data set: the files of each pair of these subsets and splits. What they are says the whole
// repository, not the part of it that the cache happens to hold.
std::optional<data::FoundFiles> hub_data(const std::string& name, const std::vector<std::string>& subsets,
                                         const std::vector<std::string>& splits, const std::string& key);

}  // namespace rlcpp::app
