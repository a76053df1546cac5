// Directories that are there and may not be read look empty to whoever lists them.
#pragma once

#include <string>

namespace rlcpp {

// Throws bad_input that begins with `what` ("data.name") and the path if `path` is a directory whose files
// this user may not list or open. Nothing for anything else.
void require_readable_directory(const std::string& path, const std::string& what);

// Throws environment_error if nothing can be written to `path`, or to what of it is there already.
void require_writable(const std::string& path, const std::string& what);
// The same for a file that will be written or replaced at the end of long work; also bad_input if `path` is
// empty or a directory.
void require_writable_file(const std::string& path, const std::string& what);

}  // namespace rlcpp
