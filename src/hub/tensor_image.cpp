#include "hub/tensor_image.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/error.h"

namespace rlcpp::hub {
namespace {

constexpr std::size_t kConverted = std::size_t{1}
                                   << 16;  // elements converted at once: they stay in the cache

float wide(DType type, const std::byte* at) {
  if (type == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return type == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

// Elements from `first` on, as many as `out` holds of `type`.
void convert(DType type, const Tensor& values, std::size_t first, std::span<std::byte> out, Stager& stager) {
  const std::size_t from_size = size_of(values.dtype()), to_size = size_of(type);
  const std::size_t count = out.size() / to_size;
  std::vector<std::byte> piece(std::min(kConverted, count) * from_size);
  const auto* source = static_cast<const std::byte*>(values.raw()) + first * from_size;
  for (std::size_t done = 0; done < count;) {
    const std::size_t part = std::min(kConverted, count - done);
    stager.to_host(std::span(piece).first(part * from_size), source + done * from_size, values.device());
    std::byte* to = out.data() + done * to_size;
    for (std::size_t i = 0; i < part; ++i, to += to_size) {
      const float value = wide(values.dtype(), piece.data() + i * from_size);
      if (type == DType::kF32) {
        std::memcpy(to, &value, sizeof value);
      } else {
        const std::uint16_t bits = f32_to_bf16(value);
        std::memcpy(to, &bits, sizeof bits);
      }
    }
    done += part;
  }
}

// Bytes of the stored tensor from `begin` on, out of the pieces that hold them.
void begin_pieces(const ImagePart& part, std::size_t begin, std::span<std::byte> out, Stager& stager) {
  const DType type = part.stored.dtype;
  const std::size_t size = size_of(type);
  auto piece = std::upper_bound(
      part.pieces.begin(), part.pieces.end(), begin / size,
      [](std::size_t element, const TensorPiece& p) { return element < static_cast<std::size_t>(p.first); });
  RLCPP_CHECK(begin % size == 0 && piece != part.pieces.begin());
  --piece;
  for (; !out.empty(); ++piece) {
    RLCPP_CHECK(piece != part.pieces.end() && begin / size >= static_cast<std::size_t>(piece->first));
    const std::size_t first = static_cast<std::size_t>(piece->first) * size;
    const std::size_t from = begin - first;
    const std::size_t count =
        std::min(static_cast<std::size_t>(piece->values.size()) * size - from, out.size());
    if (type == piece->values.dtype()) {
      stager.begin_to_host(out.first(count), static_cast<const std::byte*>(piece->values.raw()) + from,
                           piece->values.device());
    } else {
      convert(type, piece->values, from / size, out.first(count), stager);
    }
    out = out.subspan(count);
    begin += count;
  }
}

bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kBF16 || type == DType::kF16;
}

}  // namespace

std::vector<TensorPiece> cut(const std::vector<TensorPiece>& pieces, std::int64_t first, std::int64_t count) {
  std::vector<TensorPiece> out;
  for (const TensorPiece& piece : pieces) {
    const std::int64_t size = piece.values.size();
    const std::int64_t from = std::max(first, piece.first), to = std::min(first + count, piece.first + size);
    if (from < to)
      out.push_back({from - first, piece.values.view({size}).rows(from - piece.first, to - from)});
  }
  return out;
}

struct TensorImage::Made {
  std::mutex lock;
  std::shared_ptr<const std::vector<float>> values;
  std::size_t missing = 0;  // bytes that nobody has read yet

  std::shared_ptr<const std::vector<float>> get(const ImagePart& part) {
    const std::lock_guard hold(lock);
    if (values == nullptr) {
      values = std::make_shared<const std::vector<float>>(part.make());
      missing = part.stored.bytes;
      RLCPP_CHECK(values->size() * size_of(part.stored.dtype) == part.stored.bytes);
    }
    return values;
  }
  void read(std::size_t bytes) {
    const std::lock_guard hold(lock);
    missing -= std::min(missing, bytes);
    if (missing == 0) values.reset();
  }
};

TensorImage::TensorImage(std::vector<ImagePart> parts, const std::map<std::string, std::string>& metadata,
                         Share share)
    : parts_(std::move(parts)), share_(share) {
  std::vector<StoredTensor> stored;
  for (const ImagePart& part : parts_) stored.push_back(part.stored);
  header_ = safetensors_header(stored, metadata);
  bytes_ = header_.size();
  for (ImagePart& part : parts_) {
    StoredTensor& t = part.stored;
    std::int64_t elements = 1;
    for (const std::int64_t extent : t.shape) elements *= extent;
    const bool converts = t.dtype == DType::kBF16 || t.dtype == DType::kF32;
    if (part.make) {
      RLCPP_CHECK(converts && part.values.empty() && part.pieces.empty() && whole());
    } else {
      if (whole() && part.pieces.empty()) part.pieces.push_back({0, part.values});
      std::int64_t covered = 0;
      for (const TensorPiece& piece : part.pieces) {
        RLCPP_CHECK(whole() ? piece.first == covered : piece.first >= covered);
        RLCPP_CHECK(t.dtype == piece.values.dtype() || (converts && is_float(piece.values.dtype())));
        covered = piece.first + piece.values.size();
      }
      RLCPP_CHECK(whole() ? covered == elements : covered <= elements);
    }
    made_.push_back(part.make ? std::make_shared<Made>() : nullptr);
    t.offset = bytes_;
    t.bytes = static_cast<std::size_t>(elements) * size_of(t.dtype);
    bytes_ += t.bytes;
  }
}

std::vector<ByteRange> TensorImage::held(ByteRange range) const {
  const std::size_t end = range.first + range.count;
  if (whole()) return {range};
  std::vector<ByteRange> out;
  const auto add = [&](std::size_t first, std::size_t count) {
    const std::size_t from = std::max(range.first, first), to = std::min(end, first + count);
    if (from >= to) return;
    if (!out.empty() && out.back().first + out.back().count == from) {
      out.back().count += to - from;
    } else {
      out.push_back({from, to - from});
    }
  };
  if (share_ == Share::kHeaderAndPieces) add(0, header_.size());
  auto at = std::upper_bound(parts_.begin(), parts_.end(), range.first,
                             [](std::size_t o, const ImagePart& part) { return o < part.stored.offset; });
  if (at != parts_.begin()) --at;
  for (; at != parts_.end() && at->stored.offset < end; ++at) {
    const std::size_t size = size_of(at->stored.dtype);
    for (const TensorPiece& piece : at->pieces) {
      add(at->stored.offset + static_cast<std::size_t>(piece.first) * size,
          static_cast<std::size_t>(piece.values.size()) * size);
    }
  }
  return out;
}

Stager::Ticket TensorImage::begin_read(std::size_t offset, std::span<std::byte> out, Stager& stager) const {
  RLCPP_CHECK((offset % 8 == 0 || !whole()) && offset + out.size() <= bytes_);
  if (offset < header_.size()) {
    const std::size_t part = std::min(header_.size() - offset, out.size());
    std::memcpy(out.data(), header_.data() + offset, part);
    out = out.subspan(part);
    offset += part;
  }
  auto at = std::upper_bound(parts_.begin(), parts_.end(), offset,
                             [](std::size_t o, const ImagePart& part) { return o < part.stored.offset; });
  if (at != parts_.begin()) --at;
  for (; !out.empty(); ++at) {
    const StoredTensor& t = at->stored;
    const std::size_t begin = offset - t.offset;
    const std::size_t part = std::min(t.bytes - begin, out.size());
    if (const auto& made = made_[static_cast<std::size_t>(at - parts_.begin())]) {
      const auto floats = made->get(*at);
      auto* memory = const_cast<float*>(floats->data());  // a tensor's memory is only copied from
      convert(t.dtype, Tensor(memory, DType::kF32, {static_cast<std::int64_t>(floats->size())}),
              begin / size_of(t.dtype), out.first(part), stager);
      made->read(part);
    } else {
      begin_pieces(*at, begin, out.first(part), stager);
    }
    out = out.subspan(part);
    offset += part;
  }
  return stager.newest();
}

std::size_t DirectoryImage::tensor_bytes() const {
  std::size_t bytes = 0;
  for (const File& file : files) bytes += file.tensors.has_value() ? file.tensors->bytes() : 0;
  return bytes;
}

}  // namespace rlcpp::hub
