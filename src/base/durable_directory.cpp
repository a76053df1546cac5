// AtomicDirectory: the commit protocol. Nothing is visible under the final name before everything is on disk.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/durable_detail.h"
#include "base/failpoint.h"

namespace rlcpp::durable {
namespace {

namespace fs = std::filesystem;

const failpoint::Registration kPoints{"durable.commit.before_manifest", "durable.commit.before_rename",
                                      "durable.commit.after_rename"};

// Writers of many small pieces (a tensor's rows) should not pay a system call for each.
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

bool verifies(const std::string& path) {
  try {
    verify_directory(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

struct AtomicDirectory::State {
  State(FileLayer& layer, std::string final_path, std::string temporary_path, std::string run)
      : files(layer),
        path(std::move(final_path)),
        temporary(std::move(temporary_path)),
        run_id(std::move(run)) {}

  FileLayer& files;
  std::string path, temporary, run_id;
  std::vector<detail::FileEntry> entries;
  std::set<std::string> names;
  std::set<std::string> folders;  // relative; each is synced before the rename
  int open_writers = 0;
  std::string failed;  // the first file that could not be stored; final
  bool committed = false;
};

struct AtomicDirectory::Writer::State {
  State(std::shared_ptr<AtomicDirectory::State> owner, std::string file_name, int fd)
      : directory(std::move(owner)), file(directory->files, fd) {
    entry.name = std::move(file_name);
    ++directory->open_writers;
  }
  ~State() {
    if (finished) return;
    fail();
    --directory->open_writers;
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void fail() {
    if (directory->failed.empty()) directory->failed = entry.name;
    failed = true;
  }

  void checksum(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t filled = entry.size % kChunkBytes;
      const std::size_t part = std::min(bytes.size(), kChunkBytes - filled);
      if (filled == 0) entry.chunk_crcs.push_back(0);
      entry.chunk_crcs.back() = crc32c(bytes.first(part), entry.chunk_crcs.back());
      entry.size += part;
      bytes = bytes.subspan(part);
    }
  }

  void flush() {
    if (buffer.empty()) return;
    directory->files.write(file.fd(), buffer);
    buffer.clear();
  }

  std::shared_ptr<AtomicDirectory::State> directory;
  detail::OpenFile file;
  detail::FileEntry entry;
  std::vector<std::byte> buffer;
  bool failed = false;
  bool finished = false;
};

void AtomicDirectory::Writer::write(std::span<const std::byte> bytes) {
  RLCPP_CHECK(state_ != nullptr && !state_->finished && !state_->failed);
  State& s = *state_;
  try {
    s.checksum(bytes);
    if (s.buffer.size() + bytes.size() > kBufferBytes) s.flush();
    if (bytes.size() >= kBufferBytes) {
      s.directory->files.write(s.file.fd(), bytes);
    } else {
      s.buffer.insert(s.buffer.end(), bytes.begin(), bytes.end());
    }
  } catch (...) {
    s.fail();
    throw;
  }
}

void AtomicDirectory::Writer::finish() {
  RLCPP_CHECK(state_ != nullptr && !state_->finished && !state_->failed);
  State& s = *state_;
  try {
    s.flush();
    s.directory->files.sync(s.file.fd());
    s.file.close();
  } catch (...) {
    s.fail();
    throw;
  }
  s.finished = true;
  --s.directory->open_writers;
  s.directory->entries.push_back(s.entry);
}

AtomicDirectory::AtomicDirectory(FileLayer& files, std::string path, std::string run_id) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  RLCPP_CHECK(!path.empty());
  const bool plain = !run_id.empty() && std::all_of(run_id.begin(), run_id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
  RLCPP_CHECK(plain);
  if (is_there(path) && verifies(path)) {
    throw bad_input(path + " exists and is complete", "a committed directory is never written over",
                    "remove it if it is not needed, or write elsewhere");
  }
  make_directories(files, detail::parent_of(path));
  std::string temporary = path + ".tmp-" + run_id;
  remove_tree(files, temporary);  // of this run, killed before
  files.make_directory(temporary);
  state_ = std::make_shared<State>(files, std::move(path), std::move(temporary), std::move(run_id));
}

AtomicDirectory::~AtomicDirectory() {
  if (state_ == nullptr || state_->committed) return;
  try {
    remove_tree(state_->files, state_->temporary);
  } catch (const std::exception&) {  // the temporary name says what it is; remove_leftovers() finds it
  }
}

AtomicDirectory::Writer AtomicDirectory::create(const std::string& name) {
  RLCPP_CHECK(state_ != nullptr && !state_->committed);
  RLCPP_CHECK(detail::is_inner_name(name) && state_->names.insert(name).second);
  try {
    for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      const std::string folder = name.substr(0, slash);
      if (state_->folders.contains(folder)) continue;
      state_->files.make_directory(state_->temporary + "/" + folder);
      state_->folders.insert(folder);
    }
    Writer writer;
    const int fd = state_->files.open_new(state_->temporary + "/" + name);
    writer.state_ = std::make_shared<Writer::State>(state_, name, fd);
    return writer;
  } catch (...) {
    if (state_->failed.empty()) state_->failed = name;
    throw;
  }
}

void AtomicDirectory::add(const std::string& name, std::string_view content) {
  Writer writer = create(name);
  writer.write(std::as_bytes(std::span(content)));
  writer.finish();
}

void AtomicDirectory::commit(const std::string& facts_json) {
  RLCPP_CHECK(state_ != nullptr && !state_->committed);
  State& s = *state_;
  if (!s.failed.empty()) {
    throw environment_error("cannot commit " + s.path, s.failed + " could not be stored before",
                            "mend the cause of the first error; the next save starts from new files");
  }
  RLCPP_CHECK(s.open_writers == 0 && nlohmann::json::parse(facts_json).is_object());
  FileLayer& files = s.files;
  failpoint::hit("durable.commit.before_manifest");
  {
    const std::string text = detail::render_manifest({s.run_id, facts_json, s.entries});
    detail::OpenFile file(files, files.open_new(s.temporary + "/" + kManifestName));
    files.write(file.fd(), std::as_bytes(std::span(text)));
    files.sync(file.fd());
    file.close();
  }
  // Deepest first, so that a folder's own entry is on disk before the folder that names it.
  for (auto folder = s.folders.rbegin(); folder != s.folders.rend(); ++folder) {
    files.sync_directory(s.temporary + "/" + *folder);
  }
  files.sync_directory(s.temporary);
  failpoint::hit("durable.commit.before_rename");
  const std::string parent = detail::parent_of(s.path);
  if (is_there(s.path)) {
    files.rename(s.path, s.path + ".bad-" + detail::random_suffix());
    files.sync_directory(parent);
  }
  files.rename(s.temporary, s.path);
  s.committed = true;  // from here on the directory is whole, whether or not the next line succeeds
  failpoint::hit("durable.commit.after_rename");
  files.sync_directory(parent);
}

}  // namespace rlcpp::durable
