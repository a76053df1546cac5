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
// ("durable.open", "durable.append", "durable.write", "durable.write.half" after half the bytes,
// "durable.sync", "durable.close", "durable.rename", "durable.sync_directory", "durable.make_directory",
// "durable.remove").
class FileLayer {
 public:
  virtual ~FileLayer() = default;
  virtual int open_new(const std::string& path) = 0;  // O_CREAT | O_EXCL | O_NOFOLLOW; returns a descriptor
  virtual int open_append(const std::string& path) = 0;
  virtual void write(int fd, std::span<const std::byte> bytes) = 0;  // whole, EINTR handled
  virtual void sync(int fd) = 0;                                     // fdatasync
  virtual void close(int fd) = 0;
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void sync_directory(const std::string& path) = 0;
  virtual void make_directory(const std::string& path) = 0;  // one level; exists is an error
  virtual void remove(const std::string& path) = 0;          // a file or an empty directory
};
FileLayer& system_files();

// The environment_error for a refused call: operation ("write", "rename to b"), path, the text of
// `error_number` and what to do about it. Test layers throw the same.
Error file_error(std::string_view operation, const std::string& path, int error_number);

// CRC32C (Castagnoli), as in the manifest; `crc` continues an earlier value.
// Uses the processor's instruction (SSE4.2) where there is one.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);
std::uint32_t crc32c_table(std::span<const std::byte> bytes,
                           std::uint32_t crc = 0);  // the portable form of the same
bool crc32c_in_hardware();

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
  // name: relative, may contain folders ("weights/model.safetensors"), without "..".
  Writer create(const std::string& name);
  void add(const std::string& name, std::string_view content);
  // facts_json: an object, e.g. {"step": 12, "config_hash": ...}.
  void commit(const std::string& facts_json);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Reads and verifies manifest.json, sizes and (if `checksums`) every checksum. Throws bad_input naming file
// and offset. Returns the facts object as JSON text.
std::string verify_directory(const std::string& path, bool checksums = true);

// Names of committed entries "step_<N>" under `root`, by N ascending; temporary and unverifiable ones are
// skipped and listed in `skipped` with the reason. Verifies every checksum unless told otherwise, so it reads
// all of them; newest_step() stops at the first good one.
std::vector<std::int64_t> committed_steps(const std::string& root, std::vector<std::string>* skipped,
                                          bool checksums = true);

// The highest N whose "step_<N>" verifies with all checksums, and why higher ones were passed over. nullopt:
// none.
std::optional<std::int64_t> newest_step(const std::string& root, std::vector<std::string>* skipped);

}  // namespace rlcpp::durable
