// A repository of the hub as a local directory: from the shared cache, else downloaded into it.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/hub_cache.h"

namespace rlcpp::hub {

// Where the hub and its cache are. The names in comments are huggingface_hub's variables, which the app
// reads.
struct HubOptions {
  std::string cache;                                // HF_HUB_CACHE, or HF_HOME/hub
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string token;                                // HF_TOKEN; empty: none
  bool offline = false;                             // HF_HUB_OFFLINE
  RetryPolicy retry;
  // File, bytes so far, all bytes (0: unknown). May be empty, as the next.
  std::function<void(const std::string& file, std::uint64_t done, std::uint64_t total)> progress;
  std::function<void(const std::string&)> note;
};

// What of a repository is wanted.
struct Selection {
  // Of all files of the repository, those to load; throws bad_input if they cannot be used. `card`: the text
  // of the file `card_name`, empty if there is none.
  std::function<std::vector<std::string>(const std::vector<std::string>& files, const std::string& card)>
      choose;
  std::string card_name = {};  // empty: none is read
  // Whether these files of a cached snapshot are taken though nobody knows which others the repository has:
  // other programs fill the cache too, and keep no list. `offline`: it cannot be asked for. Empty: never.
  std::function<bool(const std::set<std::string>& files, bool offline)> enough;
};

// The directory of the snapshot, with what `selection` wants. What the cache holds whole is taken as it is,
// without asking the hub; whether it is whole says the hub's list of files, which the cache keeps. Throws
// bad_input (no such repository, no right, offline and not there) and environment_error (network, disk).
std::string fetch_repository(const Repository& repository, const HubOptions& options,
                             const Selection& selection);

// What a model needs: configuration, tokenizer, and safetensors unless `weights` is false.
Selection model_files_of_hub(bool weights = true);

}  // namespace rlcpp::hub
