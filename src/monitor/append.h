// Appending one record to a file that others may replace between two records.
#pragma once

#include <string>
#include <string_view>

#include "base/durable.h"

namespace rlcpp::monitor {

// Opens for each call: a step is milliseconds at least, and an open file would go on writing to an inode
// without a name after another writer of the run cut the file.
void append(durable::FileLayer& files, const std::string& path, std::string_view bytes);
void sync_file(durable::FileLayer& files, const std::string& path);
double unix_time();

}  // namespace rlcpp::monitor
