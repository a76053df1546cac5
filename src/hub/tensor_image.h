// Files and directories that are still to be written: where each byte comes from, not the bytes. Any part of
// an image can be made at any time by any thread, so that the same image is written in the foreground or in
// the background, by one thread or several, with the same bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/durable.h"
#include "hub/safetensors.h"
#include "tensor/staging.h"
#include "tensor/tensor.h"

namespace rlcpp::hub {

// A run of elements of a tensor, flat, from `first` on.
struct TensorPiece {
  std::int64_t first = 0;
  Tensor values;
};
// Those of `pieces` (in order) that lie in [first, first + count), counted from there.
std::vector<TensorPiece> cut(const std::vector<TensorPiece>& pieces, std::int64_t first, std::int64_t count);

// A tensor of a file, and where its values lie: on any device, in the type that is stored, or in another
// floating-point type if f32 or bf16 (rounded to nearest even) is stored. `stored`: name, type and shape; the
// rest is computed.
struct ImagePart {
  StoredTensor stored;
  Tensor values;
  // Values that lie nowhere, e.g. a base with adapters merged: called by the first thread that reads some of
  // them, kept until all are read. Then `values` is empty.
  std::function<std::vector<float>()> make = {};
  // Values that lie in several places, of one type, in order, and unless other processes have some
  // (Share) without gaps. Then `values` is empty.
  std::vector<TensorPiece> pieces = {};
};

// Bytes of a file: [first, first + count).
struct ByteRange {
  std::size_t first = 0, count = 0;
};

// What this process has of a file that several write together.
enum class Share : std::uint8_t { kAll, kHeaderAndPieces, kPieces };

// A safetensors file. The values are read when read() is called, so they must live and not change until then.
class TensorImage {
 public:
  TensorImage(std::vector<ImagePart> parts, const std::map<std::string, std::string>& metadata,
              Share share = Share::kAll);

  std::size_t bytes() const { return bytes_; }
  bool whole() const { return share_ == Share::kAll; }
  // What this process has of `range`, in order; neighbours are one.
  std::vector<ByteRange> held(ByteRange range) const;
  // Begins to read bytes [offset, offset + out.size()) of the file, which this process must have; `offset`: a
  // multiple of 8, or where a range of held() begins. All are there when `stager` has finished the ticket
  // that is returned.
  Stager::Ticket begin_read(std::size_t offset, std::span<std::byte> out, Stager& stager) const;
  void read(std::size_t offset, std::span<std::byte> out, Stager& stager) const {
    stager.finish(begin_read(offset, out, stager));
  }

 private:
  struct Made;
  std::string header_;
  std::vector<ImagePart> parts_;             // by offset, without gaps
  std::vector<std::shared_ptr<Made>> made_;  // of each part; null where the values lie somewhere
  std::size_t bytes_ = 0;
  Share share_ = Share::kAll;
};

// A directory for durable::AtomicDirectory: texts and tensor files in the order of the manifest.
struct DirectoryImage {
  struct File {
    std::string name;
    std::string text;  // the content, if there are no tensors
    std::optional<TensorImage> tensors;
  };
  std::string path;
  std::string facts = "{}";  // JSON object
  std::vector<File> files;
  bool steady = false;  // nothing changes its tensors, so nobody waits until they are read
  // Called on the thread that commits; either may be empty.
  std::function<void(durable::FileLayer&)> before_commit, after_commit;

  void add(std::string name, std::string text) { files.push_back({std::move(name), std::move(text), {}}); }
  void add(std::string name, TensorImage tensors) {
    files.push_back({std::move(name), {}, std::move(tensors)});
  }
  std::size_t tensor_bytes() const;
};

}  // namespace rlcpp::hub
