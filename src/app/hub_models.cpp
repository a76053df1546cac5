#include "app/hub_models.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/log.h"
#include "monitor/progress.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// As huggingface_hub reads switches.
bool environment_switch(const char* name) {
  std::string value = environment(name);
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string first_of(std::initializer_list<std::string> values) {
  for (const std::string& value : values) {
    if (!value.empty()) return value;
  }
  return {};
}

std::string token_of_file(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return {};
  std::string text = durable::read_file(path);
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  return text;
}

// One bar a file.
class FileBars {
 public:
  void update(const std::string& file, std::uint64_t done, std::uint64_t total) {
    if (file != file_) {
      bar_.reset();
      file_ = file;
      bar_ = std::make_unique<monitor::Progress>("downloading " + file, static_cast<std::int64_t>(total),
                                                 "bytes");
    }
    bar_->update(static_cast<std::int64_t>(done));
    if (total > 0 && done == total) {
      bar_->finish();
      bar_.reset();
      file_.clear();
    }
  }

 private:
  std::string file_;
  std::unique_ptr<monitor::Progress> bar_;
};

std::optional<std::string> fetch_named(const std::string& name, hub::RepositoryKind kind,
                                       const std::string& key, const hub::Selection& selection) {
  const auto repository = hub::parse_repository(name, kind);
  if (!repository) return std::nullopt;
  try {
    return hub::fetch_repository(*repository, hub_options(), selection);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kInterrupted || error.code() == ExitCode::kTerminated) throw;
    throw Error(
        error.code(),
        fmt::format("{} = \"{}\" is no path here, and as an id of the hub: {}", key, name, error.what()),
        error.because(), error.help());
  }
}

}  // namespace

hub::HubOptions hub_options() {
  hub::HubOptions options;
  const std::string user = environment("HOME");
  const std::string xdg = first_of({environment("XDG_CACHE_HOME"), user + "/.cache"});
  const std::string home = first_of({environment("HF_HOME"), xdg + "/huggingface"});
  options.cache =
      first_of({environment("HF_HUB_CACHE"), environment("HUGGINGFACE_HUB_CACHE"), home + "/hub"});
  options.endpoint = first_of({environment("HF_ENDPOINT"), options.endpoint});
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  options.token = first_of({environment("HF_TOKEN"), environment("HUGGING_FACE_HUB_TOKEN"),
                            token_of_file(first_of({environment("HF_TOKEN_PATH"), home + "/token"}))});
  options.offline = environment_switch("HF_HUB_OFFLINE") || environment_switch("TRANSFORMERS_OFFLINE");
  options.progress = [bars = std::make_shared<FileBars>()](const std::string& file, std::uint64_t done,
                                                           std::uint64_t total) {
    bars->update(file, done, total);
  };
  options.note = [](const std::string& text) { fmt::print(stderr, "{}\n", printable(text)); };
  return options;
}

std::optional<std::string> hub_model(const std::string& name, bool weights, const std::string& key) {
  return fetch_named(name, hub::RepositoryKind::kModel, key, hub::model_files_of_hub(weights));
}

std::optional<data::FoundFiles> hub_data(const std::string& name, const std::vector<std::string>& subsets,
                                         const std::vector<std::string>& splits, const std::string& key) {
  data::FoundFiles found;
  hub::Selection selection;
  selection.card_name = "README.md";
  selection.choose = [&](const std::vector<std::string>& files, const std::string& text) {
    const data::DataCard card = data::read_data_card(text);
    found = {{}, card.notes};
    std::vector<std::string> chosen;
    for (const data::DataPart& part : data::parts_of(subsets, splits)) {
      found.parts.push_back(data::match_data_files(files, part, name, card));
      for (const std::string& file : found.parts.back()) {
        if (std::find(chosen.begin(), chosen.end(), file) == chosen.end()) chosen.push_back(file);
      }
    }
    return chosen;
  };
  const auto directory = fetch_named(name, hub::RepositoryKind::kDataset, key, selection);
  if (!directory) return std::nullopt;
  for (std::vector<std::string>& part : found.parts) {
    for (std::string& file : part) file = fmt::format("{}/{}", *directory, file);
  }
  return found;
}

}  // namespace rlcpp::app
