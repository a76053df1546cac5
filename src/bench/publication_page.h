// The section "Publication" of the page: how long weights take to the engines of other GPUs, from the files
// that `rlcpp bench publication` writes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::bench {

struct PublicationFile {
  std::string model_name, device_name, commit, timestamp;
  std::int64_t num_gpus = 2, repeats = 1;
  double bytes = 0;
  double seconds = 0;  // medians; the next four are its parts, of which ranks do some at once
  double checksums = 0, transfer = 0, verify = 0, replace = 0;
};

// Throws bad_input naming `where` and what is missing or cannot be.
PublicationFile publication_from_json(const std::string& text, const std::string& where);
// Every *.json of a directory, by file name; none if it is not there.
std::vector<PublicationFile> read_publications(const std::string& path);

// Markdown, the heading included; empty without files.
std::string render_publications(const std::vector<PublicationFile>& files);

}  // namespace rlcpp::bench
