// The safetensors files of a model directory as one table of tensors.
#pragma once

#include <list>
#include <map>
#include <string>

#include "hub/safetensors.h"

namespace rlcpp::model {

class ModelFiles {
 public:
  // Opens model.safetensors, or the shards of model.safetensors.index.json. Throws bad_input if there is
  // neither, if a shard lacks a tensor that the index promises, or if two files hold one name.
  explicit ModelFiles(const std::string& dir);

  struct Entry {
    const hub::SafetensorsFile* file;
    const hub::StoredTensor* tensor;
    std::string path;
  };
  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  const std::string& dir() const { return dir_; }

 private:
  void open(const std::string& path);

  std::string dir_;
  std::list<hub::SafetensorsFile> files_;  // a list: entries point into it
  std::map<std::string, Entry> tensors_;
};

}  // namespace rlcpp::model
