// From files and arguments to a bound struct.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/config/schema.h"

namespace rlcpp::config {

// Where a value came from, for resolved.toml and for errors: "default", "configs/a.toml:12" or "command line".
using Origins = std::map<std::string, std::string>;

struct Loaded {
  Origins origins;                  // by dotted key; keys not listed have their default
  std::vector<std::string> notes;   // aliases used and the like, one sentence each, for the log
};

// Applies, in order: each `@ file.toml` with its toml_files inheritance (later wins), then command-line overrides
// (--a.b value, --a.b=value, --flag, --no-flag, bare --section, kebab or snake case, "None"; `--a.b @ file` mounts a file under a key). `arguments` is what
// follows the subcommand. Throws Error kBadInput with file:line, key and the nearest key for anything unknown.
// `root` must outlive nothing: describe() is called as often as needed.
Loaded load(const std::function<void(Schema&)>& describe, const std::vector<std::string>& arguments);

// The resolved configuration as TOML; every value with its origin as a comment when `origins` is given.
std::string to_toml(const std::function<void(Schema&)>& describe, const Origins* origins = nullptr);

// All keys with type, default, unit, choices and sentence: for `CMD --help` (plain) and docs/configuration.md (Markdown).
std::string help_text(const std::function<void(Schema&)>& describe);
std::string markdown(const std::function<void(Schema&)>& describe);

// The known key nearest to `key` (edit distance, shared components, and the names of HF and TRL), or "".
std::string nearest(const std::string& key, const std::vector<std::string>& known);

template <class S>
std::function<void(Schema&)> describer(S& value) {
  return [&value](Schema& s) { value.describe(s); };
}

}  // namespace rlcpp::config
