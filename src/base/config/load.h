// From files and arguments to a bound struct.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/config/schema.h"

namespace rlcpp::config {

// Where a value came from, for resolved.toml and for errors: "default", "configs/a.toml:12" or "command
// line".
using Origins = std::map<std::string, std::string>;

struct Loaded {
  // By dotted key; keys not listed have their default. Free tables, e.g. env.0.args, are listed as a whole
  // and by what is in them: env.0.args.seed.
  Origins origins;
};

// Applies, in order: each `@ FILE.toml` with its toml_files inheritance and each `--a.b @ FILE.toml` (the
// file is put under that key), later ones winning; then the flags: --a.b VALUE, --a.b=VALUE, --switch,
// --no-switch, bare --section, with dashes or underscores; "None" is null. Lists of values are [1,2] or 1,2;
// an element of a list of tables is --env.0.id. A list in a later file replaces the one before it; tables
// merge. `arguments` is what follows the subcommand. Throws Error kBadInput with file:line:column or the
// flag, the key, what is allowed, and for an unknown key the one that was probably meant. `describe` is
// called many times, always on the same struct, which is changed in place.
Loaded load(const std::function<void(Schema&)>& describe, const std::vector<std::string>& arguments);

// The resolved configuration as one JSON object of the same shape: sections are objects or null, None is
// null.
std::string to_json(const std::function<void(Schema&)>& describe);
// The resolved configuration as TOML; every value with its origin as a comment when `origins` is given.
std::string to_toml(const std::function<void(Schema&)>& describe, const Origins* origins = nullptr);

// One key as documentation and tools see it.
struct KeyInfo {
  std::string key;            // "optim.lr", "env.0.id"; a section has its own line
  std::string type;           // "float", "list of strings", "section", "list of tables", "table", ...
  std::string default_value;  // as TOML
  std::string allowed;        // "a number of at least 0, or None"
  std::string unit;
  std::string doc;
};
std::vector<KeyInfo> keys(const std::function<void(Schema&)>& describe);

// All keys with type, default, unit, choices and sentence: for `CMD --help` (plain) and docs/configuration.md
// (Markdown).
std::string help_text(const std::function<void(Schema&)>& describe);
std::string markdown(const std::function<void(Schema&)>& describe);

// The known key nearest to `key` (edit distance, shared components, and the names of HF and TRL), or "".
std::string nearest(const std::string& key, const std::vector<std::string>& known);

// The version of the TOML parser, for --version.
std::string toml_library_version();

// `value` must outlive the result.
template <class S>
std::function<void(Schema&)> describer(S& value) {
  return [&value](Schema& s) { value.describe(s); };
}

}  // namespace rlcpp::config
