// The card of a data set of the hub, its README.md: which files are its subsets ("configs") and their splits
// (huggingface.co/docs/hub/datasets-manual-configuration).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::data {

struct CardSplit {
  std::string name;
  std::vector<std::string> patterns;
};

struct CardSubset {
  std::string name;
  bool is_default = false;
  std::string folder;             // data_dir; patterns are relative to it
  std::vector<CardSplit> splits;  // data_files; empty: files are known by their names
};

struct DataCard {
  std::vector<CardSubset> subsets;  // empty: the card says nothing of files
  std::vector<std::string> notes;   // what of it was not understood, for the user
};

// Never throws: a card is written for readers, and what is not understood of it is passed over with a note.
DataCard read_data_card(std::string_view markdown);

// As the glob of fsspec: "*" and "?" within a folder, "**" across folders ("**/" also none), "[a-c]" and
// "[!a]".
bool matches_pattern(std::string_view path, std::string_view pattern);

}  // namespace rlcpp::data
