// The cache that Hugging Face's own programs share (huggingface_hub, "Manage the cache"):
//   models--org--name/refs/main                  the commit that a revision is
//   models--org--name/blobs/<etag>               contents; <etag>.incomplete while they are loaded
//   models--org--name/snapshots/<commit>/<file>  links to the blobs
// Data sets have datasets--org--name. What is written here they find, and the other way round. Beside that
// lies a file of our own, which they pass over:
//   models--org--name/rlcpp-files/<commit>.json  the names of all files that the hub has for the commit
// A snapshot does not say what it lacks; with this list it is known without asking.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::hub {

enum class RepositoryKind : std::uint8_t { kModel, kDataset };

struct Repository {
  RepositoryKind kind = RepositoryKind::kModel;
  std::string id;  // "org/name"
  std::string revision = "main";

  std::string text() const;    // "org/name", and "@revision" if it is not main
  std::string folder() const;  // "models--org--name"
};

// "org/name" or "org/name@revision" in the hub's alphabet; nullopt for anything else.
std::optional<Repository> parse_repository(std::string_view name, RepositoryKind kind);

// A file's place inside a repository: relative, no "..", nothing that a file system reads another way.
bool is_repository_path(std::string_view path);
// A name that a blob may have.
bool is_etag(std::string_view text);
// 40 hexadecimal digits.
bool is_commit(std::string_view text);

class HubCache {
 public:
  HubCache(std::string root, const Repository& repository);

  // The commit that the revision was when it was last looked up; nullopt: never.
  std::optional<std::string> commit() const;
  std::string snapshot(const std::string& commit) const;
  // The files of a snapshot, with folders, that are really there.
  std::set<std::string> files(const std::string& commit) const;
  // The names of all files of the commit on the hub; nullopt: they were never asked for.
  std::optional<std::vector<std::string>> list(const std::string& commit) const;
  std::string blob(const std::string& etag) const;
  std::string incomplete(const std::string& etag) const { return blob(etag) + ".incomplete"; }

  // Makes the folders. Throws environment_error if the file system refuses, here and below.
  void prepare() const;
  // snapshots/<commit>/<file> → blobs/<etag>, replacing what is there.
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;
  void set_commit(const std::string& commit) const;
  void set_list(const std::string& commit, const std::vector<std::string>& names) const;

  // The lock of a blob, as huggingface_hub takes it.
  class Lock {
   public:
    // Waits as long as the holder's file grows, and `limit` beyond that; `note` says who is awaited.
    Lock(const HubCache& cache, const std::string& etag, std::chrono::milliseconds limit,
         const std::function<void(const std::string&)>& note);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    int fd_ = -1;
  };

 private:
  std::string list_path(const std::string& commit) const;

  std::string root_, revision_, folder_;
};

}  // namespace rlcpp::hub
