#include "hub/repository.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "hub/http.h"

namespace rlcpp::hub {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

struct Listing {
  std::string commit;
  std::map<std::string, HubFile> files;
};

std::vector<std::string> authorization(const HubOptions& options) {
  if (options.token.empty()) return {};
  return {"Authorization: Bearer " + options.token};
}

HttpRequest hub_request(const HubOptions& options, const std::string& url) {
  HttpRequest request;
  request.url = url;
  request.headers = authorization(options);
  request.connect_limit = options.retry.connect_limit;
  request.stall_limit = options.retry.stall_limit;
  request.stoppable = true;
  return request;
}

std::string kind_path(const Repository& repository) {
  return repository.kind == RepositoryKind::kModel ? "" : "datasets/";
}

Error strange_answer(const std::string& url, const std::string& why) {
  return environment_error("the answer of " + url + " is not a hub's", why,
                           "check HF_ENDPOINT and what stands between here and it");
}

// One entry of "siblings": {"rfilename", "size", "blobId", "lfs": {"sha256"}}.
HubFile file_of_entry(const json& entry, const std::string& url) {
  HubFile file;
  if (!entry.is_object() || !entry.contains("rfilename") || !entry["rfilename"].is_string())
    throw strange_answer(url, "it lists a file without a name");
  file.name = entry["rfilename"].get<std::string>();
  if (!is_repository_path(file.name))
    throw strange_answer(url, "it lists a file named " + printable(file.name));
  if (entry.contains("size") && entry["size"].is_number_unsigned())
    file.size = entry["size"].get<std::uint64_t>();
  const auto text = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string()
               ? object[key].get<std::string>()
               : std::string();
  };
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    file.etag = text(entry["lfs"], "sha256");
    if (file.etag.empty()) file.etag = text(entry["lfs"], "oid");
  } else {
    file.etag = text(entry, "blobId");
  }
  if (!file.etag.empty() && !is_etag(file.etag))
    throw strange_answer(url, "the id of " + file.name + " is " + printable(file.etag));
  return file;
}

// As download's transfer, for short answers.
std::string ask(const Repository& repository, const HubOptions& options, const std::string& url) {
  auto pause = options.retry.first_pause;
  for (int attempt = 1;; ++attempt) {
    std::string body;
    const HttpResponse response = http_text(hub_request(options, url), body, kMaxListBytes);
    if (response.status == 200 && response.complete()) return body;
    leave_if_stopped(repository.text());
    if (response.circles) throw redirected_in_circles(response, repository.text());
    const bool passing =
        !response.complete() || response.status == 408 || response.status == 429 || response.status >= 500;
    if (!passing) throw refused_by_hub(response.status, repository.text(), !options.token.empty());
    const std::string why =
        response.complete() ? fmt::format("it answers {}", response.status) : response.failure;
    if (attempt >= options.retry.attempts) {
      throw environment_error(fmt::format("{} cannot be asked for {}", options.endpoint, repository.text()),
                              why,
                              "look at the network and HF_ENDPOINT; or download by other means and name the "
                              "directory");
    }
    if (options.note) options.note(fmt::format("{}: {}; asking again", options.endpoint, why));
    pause_unless_stopped(pause, repository.text());
    pause *= 2;
  }
}

Listing list_repository(const Repository& repository, const HubOptions& options) {
  const std::string url = fmt::format("{}/api/{}/{}/revision/{}?blobs=true", options.endpoint,
                                      repository.kind == RepositoryKind::kModel ? "models" : "datasets",
                                      repository.id, url_path(repository.revision));
  const json answer = parse_json(ask(repository, options, url));
  if (!answer.is_object() || !answer.contains("sha") || !answer["sha"].is_string() ||
      !is_commit(answer["sha"].get<std::string>()) || !answer.contains("siblings") ||
      !answer["siblings"].is_array()) {
    throw strange_answer(url, "it has no commit and no list of files");
  }
  Listing out;
  out.commit = answer["sha"].get<std::string>();
  for (const json& entry : answer["siblings"]) {
    HubFile file = file_of_entry(entry, url);
    const std::string name = file.name;
    out.files[name] = std::move(file);
  }
  return out;
}

std::string unquoted(std::string etag) {
  if (etag.starts_with("W/")) etag = etag.substr(2);
  std::erase(etag, '"');
  return etag;
}

// A hub whose list has no ids tells them in the headers of each file, those of the answer before any redirect
// to where large files lie (huggingface_hub, get_hf_file_metadata).
void ask_for_id(const HubOptions& options, const std::string& url, const std::string& what, HubFile& file) {
  HttpRequest request = hub_request(options, url);
  request.head = true;
  request.follow = false;
  const HttpResponse response =
      http_request(request, [](const HttpResponse&, std::span<const std::byte>) { return true; });
  if (response.status == 0) leave_if_stopped(what);
  if (response.status == 0)
    throw environment_error("the hub does not answer for " + what, response.failure, "start again later");
  if (response.status >= 400) throw refused_by_hub(response.status, what, !options.token.empty());
  const std::string linked = response.header("x-linked-etag");
  file.etag = unquoted(linked.empty() ? response.header("etag") : linked);
  if (!is_etag(file.etag)) throw strange_answer(url, "its ETag is \"" + printable(file.etag) + "\"");
  const std::string size = response.header(linked.empty() ? "content-length" : "x-linked-size");
  std::uint64_t bytes = 0;
  const auto read = std::from_chars(size.data(), size.data() + size.size(), bytes);
  if (!size.empty() && read.ec == std::errc()) file.size = bytes;
}

void fetch_file(const Repository& repository, const HubOptions& options, const HubCache& cache,
                const std::string& commit, HubFile file) {
  DownloadTask task;
  task.url = fmt::format("{}/{}{}/resolve/{}/{}", options.endpoint, kind_path(repository), repository.id,
                         commit, url_path(file.name));
  task.what = fmt::format("{}: {}", repository.text(), file.name);
  task.headers = authorization(options);
  if (file.etag.empty()) ask_for_id(options, task.url, task.what, file);
  task.retry = options.retry;
  task.note = options.note;
  if (options.progress) {
    task.progress = [&](std::uint64_t done, std::uint64_t total) {
      options.progress(file.name, done, total);
    };
  }
  task.file = file;
  download_blob(cache, task);
  cache.link(commit, file.name, file.etag);
}

// Whether the card is one of these files.
bool has_card(const Selection& selection, const std::vector<std::string>& list) {
  return !selection.card_name.empty() &&
         std::find(list.begin(), list.end(), selection.card_name) != list.end();
}

// What is chosen of a cached commit, whose files are known, and is not there.
std::vector<std::string> missing_files(const Selection& selection, const HubCache& cache,
                                       const std::string& commit, const std::vector<std::string>& list,
                                       const std::set<std::string>& there) {
  const bool card = has_card(selection, list);
  if (card && !there.contains(selection.card_name)) return {selection.card_name};
  std::vector<std::string> missing = selection.choose(
      list, card ? durable::read_file(cache.snapshot(commit) + "/" + selection.card_name) : "");
  std::erase_if(missing, [&](const std::string& name) { return there.contains(name); });
  return missing;
}

Error not_whole(const Repository& repository, const HubOptions& options, const std::string& why,
                const std::string& cause, const std::string& help) {
  return bad_input(fmt::format("{} is not {} in the Hugging Face cache, and HF_HUB_OFFLINE is set",
                               repository.text(), why),
                   fmt::format("the cache is {}{}", options.cache, cause),
                   "unset HF_HUB_OFFLINE, or name " + help);
}

// Whether the cache has all that is wanted of the commit. Offline, throws what is not so.
bool is_cached(const Repository& repository, const HubOptions& options, const Selection& selection,
               const HubCache& cache, const std::string& commit) {
  const std::set<std::string> there = cache.files(commit);
  const auto list = cache.list(commit);
  if (!list) {
    if (selection.enough && selection.enough(there, options.offline)) return true;
    if (!options.offline) return false;
    if (selection.enough) throw not_whole(repository, options, "whole", "", "a directory");
    throw not_whole(repository, options, "known to be whole",
                    ", which has no list of files from the hub for it",
                    "the directory " + cache.snapshot(commit));
  }
  try {
    const std::vector<std::string> missing = missing_files(selection, cache, commit, *list, there);
    if (missing.empty()) return true;
    if (!options.offline) return false;
    throw not_whole(repository, options, "whole",
                    fmt::format(", and {} of the files are missing, the first is {}", missing.size(),
                                printable(missing.front())),
                    "a directory");
  } catch (const Error&) {
    if (options.offline) throw;
    return false;  // the revision may be another commit by now, of which more can be used
  }
}

}  // namespace

std::string fetch_repository(const Repository& repository, const HubOptions& options,
                             const Selection& selection) {
  const HubCache cache(options.cache, repository);
  const std::optional<std::string> known = cache.commit();
  if (known && is_cached(repository, options, selection, cache, *known)) return cache.snapshot(*known);
  if (options.offline) throw not_whole(repository, options, "there", "", "a directory");
  const Listing listing = list_repository(repository, options);
  std::vector<std::string> names;
  for (const auto& [name, file] : listing.files) names.push_back(name);
  const bool card = has_card(selection, names);
  std::vector<std::string> chosen;
  if (!card) chosen = selection.choose(names, "");  // what cannot be used leaves nothing in the cache
  cache.prepare();
  // Before the first file: a download that is interrupted leaves a snapshot that lacks some.
  cache.set_list(listing.commit, names);
  if (card) {
    fetch_file(repository, options, cache, listing.commit, listing.files.at(selection.card_name));
    chosen = selection.choose(names,
                              durable::read_file(cache.snapshot(listing.commit) + "/" + selection.card_name));
  }
  for (const std::string& name : chosen)
    fetch_file(repository, options, cache, listing.commit, listing.files.at(name));
  // The revision is known to the cache once all of it is there.
  cache.set_commit(listing.commit);
  return cache.snapshot(listing.commit);
}

Selection model_files_of_hub(bool weights) {
  static constexpr std::array kWanted = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "chat_template.jinja"};
  static constexpr const char *kSingle = "model.safetensors", *kIndex = "model.safetensors.index.json";
  const auto is_shard = [](const std::string& name) {
    return name.starts_with("model-") && name.ends_with(".safetensors");
  };
  Selection selection;
  selection.enough = [is_shard, weights](const std::set<std::string>& files, bool offline) {
    if (!files.contains("config.json") || !files.contains("tokenizer.json")) return false;
    // Few models have none, and it holds the chat template.
    if (!files.contains("tokenizer_config.json") && !offline) return false;
    if (!weights || files.contains(kSingle)) return true;
    if (!files.contains(kIndex)) return false;
    // "model-00001-of-00003.safetensors": all of as many as the first says.
    std::size_t shards = 0, all = 0;
    for (const std::string& name : files) {
      if (!is_shard(name)) continue;
      ++shards;
      const std::size_t of = name.rfind("-of-");
      if (of != std::string::npos) std::from_chars(name.data() + of + 4, name.data() + name.size(), all);
    }
    return shards > 0 && shards == all;
  };
  selection.choose = [is_shard, weights](const std::vector<std::string>& files, const std::string&) {
    const std::set<std::string> all(files.begin(), files.end());
    if (!all.contains("config.json")) {
      throw bad_input("the repository holds no model that rlcpp reads", "it has no config.json",
                      "choose a repository with config.json and safetensors");
    }
    std::vector<std::string> chosen;
    for (const char* name : kWanted) {
      if (all.contains(name)) chosen.emplace_back(name);
    }
    if (!weights) return chosen;
    if (all.contains(kSingle)) {
      chosen.emplace_back(kSingle);
      return chosen;
    }
    if (all.contains(kIndex)) {
      chosen.emplace_back(kIndex);
      std::copy_if(files.begin(), files.end(), std::back_inserter(chosen), is_shard);
      return chosen;
    }
    std::vector<std::string> found;
    for (const std::string& name : files) {
      for (const char* end : {".bin", ".gguf", ".pth", ".pt", ".h5", ".msgpack"}) {
        if (name.ends_with(end) && found.size() < 5) found.push_back(name);
      }
    }
    const bool gguf =
        std::any_of(found.begin(), found.end(), [](const auto& n) { return n.ends_with(".gguf"); });
    throw bad_input(
        "the repository has no safetensors",
        found.empty() ? "it has no weights at all" : fmt::format("it has {}", fmt::join(found, ", ")),
        gguf ? "download a GGUF file and give it to rlcpp convert"
             : "choose a repository with model.safetensors");
  };
  return selection;
}

}  // namespace rlcpp::hub
