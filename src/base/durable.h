// Every durable write goes through here, so that it can be recorded, made to fail and replayed in tests.
// Rules: a failed fsync is final for that file; names appear only when their content is on disk; a directory
// is complete or absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace rlcpp::durable {

// The calls that change a disk. The default does them; tests put a recorder or a fault injector in front.
// Each throws file_error() when the system refuses. Each passes two fail points: "durable.call" before any of
// them, and its own
// ("durable.open", "durable.append", "durable.write" and "durable.write.half" after half the bytes,
// "durable.sync", "durable.close", "durable.rename", "durable.sync_directory", "durable.make_directory",
// "durable.remove").
class FileLayer {
 public:
  virtual ~FileLayer() = default;
  virtual int open_new(const std::string& path) = 0;  // O_CREAT | O_EXCL | O_NOFOLLOW; returns a descriptor
  virtual int open_append(const std::string& path) = 0;
  virtual int open_there(const std::string& path) = 0;  // to write into a file that somebody else made
  virtual void write(int fd, std::span<const std::byte> bytes) = 0;  // whole, EINTR handled
  // The same at `offset`; several threads may write to one descriptor. The system is asked to begin storing.
  virtual void write_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void sync(int fd) = 0;  // fdatasync
  virtual void close(int fd) = 0;
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void sync_directory(const std::string& path) = 0;
  virtual void make_directory(const std::string& path) = 0;  // one level; exists is an error
  virtual void remove(const std::string& path) = 0;          // a file or an empty directory
};
FileLayer& system_files();

// What system_files() does when the disk is full or a quota used up (ENOSPC, EDQUOT) at a call that may be
// made again: a write goes on behind the bytes that were stored, an open, a rename or a new directory is
// tried anew. `handler` is told the error; it returns when it is to be tried again, or throws. It is called
// on the thread that writes, by several at once, and once for each try. Empty, as at the start: the error is
// thrown. A sync or a close that fails is final in any case. Set while nobody writes.
void when_full(std::function<void(const Error&)> handler);
// How often such a call was tried again so far.
std::uint64_t tries_for_room();

// The environment_error for a refused call: operation ("write", "rename to b"), path, the text of
// `error_number` and what to do about it. Test layers throw the same.
Error file_error(std::string_view operation, const std::string& path, int error_number);

// CRC32C (Castagnoli), as in the manifest; `crc` continues an earlier value.
// Uses the processor's instruction (SSE4.2) where there is one.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);
std::uint32_t crc32c_table(std::span<const std::byte> bytes,
                           std::uint32_t crc = 0);  // the portable form of the same
bool crc32c_in_hardware();
// Of `first_crc`'s bytes followed by `bytes` others, whose checksum is second_crc.
std::uint32_t crc32c_combine(std::uint32_t first_crc, std::uint32_t second_crc, std::uint64_t bytes);

// Bytes under one checksum of a manifest.
inline constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
inline constexpr const char* kManifestName = "manifest.json";

// Writes `path` whole or not at all: temporary name, write, sync, rename, sync of the directory.
// Throws bad_input if `path` is a device, a pipe or a socket.
void write_file(FileLayer& files, const std::string& path, std::string_view content);

void make_directories(FileLayer& files, const std::string& path);  // all levels; existing ones are fine
// Removes what a killed process left in `directory`: entries named "<prefix>*.tmp-*" and "<prefix>*.trash-*"
// (write_file, AtomicDirectory, remove_tree). Only where no other process writes under such names.
void remove_leftovers(FileLayer& files, const std::string& directory, std::string_view prefix = {});
// Nothing happens if there is nothing at `path`; a symbolic link is removed, not followed. Renames to a trash
// name first, then removes what is inside; a crash half way leaves only trash.
void remove_tree(FileLayer& files, const std::string& path);
std::string read_file(const std::string& path);  // throws bad_input naming the path

// A directory that appears complete or not at all: files are written under "<path>.tmp-<run>", each synced
// and CRC'd per 4 MiB; commit() writes manifest.json (files, sizes, checksums, and `facts`), syncs, renames
// to `path`, syncs the parent. If a committed directory that verifies is already at `path`, the constructor
// throws bad_input; one that does not verify is set aside as "<path>.bad-<random>" by commit(), never
// removed.
class AtomicDirectory {
 public:
  // run_id: letters, digits, '.', '_' and '-'. Creates missing parents.
  AtomicDirectory(FileLayer& files, std::string path, std::string run_id);
  ~AtomicDirectory();  // uncommitted: removes the temporary directory as well as it can
  AtomicDirectory(AtomicDirectory&&) noexcept = default;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;

  // Streams one file; the returned writer must be finished before commit(). A file whose write or sync failed
  // stays failed: nothing is tried again on it, and commit() refuses.
  class Writer {
   public:
    void write(std::span<const std::byte> bytes);
    void finish();

   private:
    friend class AtomicDirectory;
    struct State;
    std::shared_ptr<State> state_;
  };
  // A file of known size whose chunks several threads write, in any order, each once. Failures as above.
  class Parts {
   public:
    std::uint64_t chunks() const;  // of kChunkBytes, the last one short
    // `bytes`: exactly those of the chunk. Checksums and writes on the calling thread. Returns true to the
    // thread that wrote the last one missing: it should call finish().
    bool write(std::uint64_t chunk, std::span<const std::byte> bytes);
    void finish();  // all chunks are written: syncs and closes
    // Of a file that several processes write (durable_shared.h): a part of it, from any thread; and the end,
    // when all others have synced theirs, with the checksums of all chunks.
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    void finish(std::vector<std::uint32_t> chunk_crcs);

   private:
    friend class AtomicDirectory;
    struct State;
    std::shared_ptr<State> state_;
  };
  // name: relative, may contain folders ("weights/model.safetensors"), without "..". The manifest lists files
  // in the order of these calls, which one thread makes.
  Writer create(const std::string& name);
  Parts create(const std::string& name, std::uint64_t size);
  void add(const std::string& name, std::string_view content);
  // Where the files are until commit().
  static std::string temporary_of(const std::string& path, const std::string& run_id) {
    return path + ".tmp-" + run_id;
  }
  // facts_json: an object, e.g. {"step": 12, "config_hash": ...}.
  void commit(const std::string& facts_json);

 private:
  struct State;
  struct OpenEntry;
  template <class FileState>
  std::shared_ptr<FileState> open(const std::string& name);
  std::shared_ptr<State> state_;
};

// Reads and verifies manifest.json, sizes and (if `checksums`) every checksum, of a large directory on
// several threads. Throws bad_input naming file and offset. Returns the facts object as JSON text.
std::string verify_directory(const std::string& path, bool checksums = true);

// A committed directory that is read and verified at once. The constructor reads the manifest and compares
// sizes; each chunk is compared with its checksum when it is read. Throws bad_input naming file and offset.
class VerifiedDirectory {
 public:
  explicit VerifiedDirectory(const std::string& path);
  ~VerifiedDirectory();
  VerifiedDirectory(VerifiedDirectory&&) noexcept;

  const std::string& path() const;
  const std::string& facts() const;  // JSON text
  std::vector<std::string> files() const;
  std::uint64_t size(const std::string& name) const;  // throws bad_input if the manifest has no such file
  // Chunk `chunk` of kChunkBytes (the last one short) into the front of `into`, which is that long at least.
  // Several threads may call it. Returns the number of bytes.
  std::size_t read(const std::string& name, std::uint64_t chunk, std::span<std::byte> into) const;
  std::string read_all(const std::string& name) const;
  void verify() const;  // every chunk of every file, of a large directory on several threads

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Names of committed entries "step_<N>" under `root`, by N ascending; temporary and unverifiable ones are
// skipped and listed in `skipped` with the reason. Verifies every checksum unless told otherwise, so it reads
// all of them; newest_step() stops at the first good one.
std::vector<std::int64_t> committed_steps(const std::string& root, std::vector<std::string>* skipped,
                                          bool checksums = true);

// The highest N whose "step_<N>" verifies with all checksums (or by manifest and sizes alone), and why higher
// ones were passed over. nullopt: none.
std::optional<std::int64_t> newest_step(const std::string& root, std::vector<std::string>* skipped,
                                        bool checksums = true);

}  // namespace rlcpp::durable
