// Putting values into the struct behind a schema: from the tree of a file, and from one flag at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/config/load.h"
#include "base/config/tree.h"
#include "base/config/walk.h"

namespace rlcpp::config {

class Binder {
 public:
  Binder(const std::function<void(Schema&)>& describe, Loaded& loaded);

  // Sets everything in `table`, a file's tree, in the table at `path` (empty: the whole configuration).
  // Throws the mistakes of the file together.
  void bind_file(const Node& table, const std::vector<std::string>& path, const Place& asked_at);

  // One value from the command line; `text` is what the user gave.
  void bind_flag(const Target& probe, const std::vector<std::string>& path, const std::string& text,
                 const Place& place);
  // --ckpt and --no-ckpt, --ckpt None.
  void switch_section(const std::vector<std::string>& path, bool on, const Place& place);
  // An optional value to None, or a bool to false.
  void negate(const Target& probe, const std::vector<std::string>& path, const Place& place);

  // The error for a key that does not exist, with the key probably meant.
  Problem unknown(const std::string& key, const Place& place, const std::string& hint) const;

 private:
  void bind_table(Schema& schema, const Node& table, const std::string& prefix);
  void require_one_name(Schema& schema, const Node& table, const std::string& prefix);
  void bind_entry(Schema& schema, const Entry& entry, const std::string& prefix);
  void bind_child(Child& child, const Entry& entry, const std::string& key);
  void bind_field(Field& field, const Entry& entry, const std::string& key);
  void bind_free(Schema::FreeTable& free, const Node& table, const std::vector<std::string>& rest,
                 const std::string& key);
  void record(const std::string& key, const Place& place);
  void forget(const std::string& prefix);

  const std::function<void(Schema&)>& describe_;
  Loaded& loaded_;
  KnownKeys known_;
  std::vector<Problem> problems_;
};

}  // namespace rlcpp::config
