// A whole file as read-only memory. The system reads what is looked at.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace rlcpp::hub {

class MappedFile {
 public:
  // Throws bad_input if `path` cannot be opened or is not a regular file, environment_error if it cannot be
  // mapped. An empty file is an empty span.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rlcpp::hub
