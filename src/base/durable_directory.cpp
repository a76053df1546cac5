// AtomicDirectory: the commit protocol. Nothing is visible under the final name before everything is on disk.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <mutex>
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

  void fail(const std::string& name) {
    const std::lock_guard hold(lock);
    if (failed.empty()) failed = name;
  }
  void finish(std::size_t place, detail::FileEntry entry) {
    const std::lock_guard hold(lock);
    entries[place] = std::move(entry);
    --open_writers;
  }

  FileLayer& files;
  std::string path, temporary, run_id;
  std::set<std::string> names;
  std::set<std::string> folders;  // relative; each is synced before the rename
  bool committed = false;
  // Writers of several threads come here.
  std::mutex lock;
  std::vector<detail::FileEntry> entries;  // a place for each create()
  int open_writers = 0;
  std::string failed;  // the first file that could not be stored; final
};

// One file of a directory while it is written.
struct AtomicDirectory::OpenEntry {
  OpenEntry(std::shared_ptr<AtomicDirectory::State> owner, std::string name, int fd)
      : directory(std::move(owner)), file(directory->files, fd) {
    entry.name = std::move(name);
    const std::lock_guard hold(directory->lock);
    place = directory->entries.size();
    directory->entries.emplace_back();
    ++directory->open_writers;
  }
  ~OpenEntry() {
    if (finished) return;
    fail();
    const std::lock_guard hold(directory->lock);
    --directory->open_writers;
  }
  OpenEntry(const OpenEntry&) = delete;
  OpenEntry& operator=(const OpenEntry&) = delete;

  void fail() {
    directory->fail(entry.name);
    failed = true;
  }
  void sync_and_close() {
    directory->files.sync(file.fd());
    file.close();
    finished = true;
    directory->finish(place, entry);
  }

  std::shared_ptr<AtomicDirectory::State> directory;
  detail::OpenFile file;
  detail::FileEntry entry;
  std::size_t place = 0;
  std::atomic<bool> failed = false;
  bool finished = false;
};

struct AtomicDirectory::Writer::State : AtomicDirectory::OpenEntry {
  using OpenEntry::OpenEntry;

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

  std::vector<std::byte> buffer;
};

struct AtomicDirectory::Parts::State : AtomicDirectory::OpenEntry {
  using OpenEntry::OpenEntry;
  std::size_t bytes_of(std::uint64_t chunk) const {
    return std::min<std::uint64_t>(kChunkBytes, entry.size - chunk * kChunkBytes);
  }
  std::atomic<std::uint64_t> missing = 0;
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
    s.sync_and_close();
  } catch (...) {
    s.fail();
    throw;
  }
}

std::uint64_t AtomicDirectory::Parts::chunks() const {
  return state_->entry.chunk_crcs.size();
}

bool AtomicDirectory::Parts::write(std::uint64_t chunk, std::span<const std::byte> bytes) {
  RLCPP_CHECK(state_ != nullptr && !state_->finished && chunk < chunks());
  State& s = *state_;
  RLCPP_CHECK(bytes.size() == s.bytes_of(chunk));
  if (s.failed) return false;  // its first error is on the way already
  try {
    s.entry.chunk_crcs[chunk] = crc32c(bytes);
    s.directory->files.write_at(s.file.fd(), chunk * kChunkBytes, bytes);
  } catch (...) {
    s.fail();
    throw;
  }
  // The last thread sees the checksums of all others: each gives its own away here.
  return s.missing.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

void AtomicDirectory::Parts::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  State& s = *state_;
  RLCPP_CHECK(!s.finished && offset + bytes.size() <= s.entry.size);
  if (s.failed) return;  // its first error is on the way already
  try {
    s.directory->files.write_at(s.file.fd(), offset, bytes);
  } catch (...) {
    s.fail();
    throw;
  }
}

void AtomicDirectory::Parts::finish(std::vector<std::uint32_t> chunk_crcs) {
  RLCPP_CHECK(chunk_crcs.size() == chunks());
  state_->entry.chunk_crcs = std::move(chunk_crcs);
  state_->missing = 0;
  finish();
}

void AtomicDirectory::Parts::finish() {
  RLCPP_CHECK(state_ != nullptr && !state_->finished && !state_->failed && state_->missing == 0);
  try {
    state_->sync_and_close();
  } catch (...) {
    state_->fail();
    throw;
  }
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
  std::string temporary = temporary_of(path, run_id);
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

template <class FileState>
std::shared_ptr<FileState> AtomicDirectory::open(const std::string& name) {
  RLCPP_CHECK(state_ != nullptr && !state_->committed);
  RLCPP_CHECK(detail::is_inner_name(name) && state_->names.insert(name).second);
  try {
    for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      const std::string folder = name.substr(0, slash);
      if (state_->folders.contains(folder)) continue;
      state_->files.make_directory(state_->temporary + "/" + folder);
      state_->folders.insert(folder);
    }
    return std::make_shared<FileState>(state_, name, state_->files.open_new(state_->temporary + "/" + name));
  } catch (...) {
    state_->fail(name);
    throw;
  }
}

AtomicDirectory::Writer AtomicDirectory::create(const std::string& name) {
  Writer writer;
  writer.state_ = open<Writer::State>(name);
  return writer;
}

AtomicDirectory::Parts AtomicDirectory::create(const std::string& name, std::uint64_t size) {
  Parts parts;
  parts.state_ = open<Parts::State>(name);
  parts.state_->entry.size = size;
  parts.state_->entry.chunk_crcs.resize((size + kChunkBytes - 1) / kChunkBytes);
  parts.state_->missing = parts.state_->entry.chunk_crcs.size();
  return parts;
}

void AtomicDirectory::add(const std::string& name, std::string_view content) {
  Writer writer = create(name);
  writer.write(std::as_bytes(std::span(content)));
  writer.finish();
}

void AtomicDirectory::commit(const std::string& facts_json) {
  RLCPP_CHECK(state_ != nullptr && !state_->committed);
  State& s = *state_;
  const std::lock_guard hold(s.lock);  // whoever wrote has left
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
