// Which files of a data set hold a subset and a split, by the names that the hub's data sets use
// (huggingface.co/docs/hub/datasets-file-names-and-splits).
#pragma once

#include <string>
#include <vector>

#include "data/data_card.h"

namespace rlcpp::data {

struct DataPart {
  std::string subset;  // empty: the data set's default
  std::string split;
};

// Subset i with split i, or all subsets with the only split; without subsets the splits alone. Throws
// bad_input if there is no split, or lists of other lengths.
std::vector<DataPart> parts_of(const std::vector<std::string>& subsets,
                               const std::vector<std::string>& splits);

// Of `names` (relative to the data set's folder) those that hold `part`, sorted: <split>.jsonl itself if it
// is there; else files below a folder of the subset's name, or with it in theirs, that have the split as a
// word of their path ("data/train-00000-of-00002.parquet"); for "train", if no file has the word of any
// split, all. Without a subset: of the folder default/, else of no folder but data/ and those of splits, else
// of the only other one. What the card says goes before all that. Throws bad_input that says what there is,
// also if several subsets could be meant or the files have several formats; `data_set` is named in it.
std::vector<std::string> match_data_files(const std::vector<std::string>& names, const DataPart& part,
                                          const std::string& data_set, const DataCard& card = {});

// The paths of the files of each part.
struct FoundFiles {
  std::vector<std::vector<std::string>> parts;
  std::vector<std::string> notes;  // for the user
};

// The rows of a file as lines of JSON: .jsonl and .ndjson as they are; .json an array of rows, or lines; .zst
// of these unpacked with libzstd, which is opened when it is needed. Throws bad_input naming the file, for
// Parquet with how to convert it; environment_error without libzstd.
std::string read_data_lines(const std::string& path);

}  // namespace rlcpp::data
