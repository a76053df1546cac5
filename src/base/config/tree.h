// A configuration file as read, before anything knows what its keys mean: a tree whose every part remembers
// its place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rlcpp::config {

struct SourceText {
  std::string path;
  std::string content;
};

// Where something was written: a place in a file, or a flag of the command line.
struct Place {
  std::shared_ptr<const SourceText> file;
  int line = 0;    // from 1
  int column = 0;  // from 1, in bytes
  std::string flag;

  std::string short_text() const;  // "configs/a.toml:12" or "command line"; for origins
  std::string long_text() const;   // "configs/a.toml:12:1" or "--optim.lr"; for errors
  std::string excerpt() const;     // "\n    12 | lr = x\n       | ^" or nothing
};

struct Entry;
struct Field;

struct Node {
  enum class Kind : std::uint8_t { kBool, kInt, kFloat, kString, kDate, kTable, kArray };
  Kind kind = Kind::kTable;
  bool boolean = false;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;  // kString, kDate
  std::vector<Entry> entries;
  std::vector<Node> items;
  Place place;

  bool is_none() const { return kind == Kind::kString && text == "None"; }
};

struct Entry {
  std::string key;
  Place place;
  Node value;
};

// "a string", "a table", ...; for messages.
std::string kind_name(const Node& node);

// One mistake of the user. Several of one file are shown together.
struct Problem {
  Place place;
  std::string what;     // without the place
  std::string because;  // a clause
  std::string help;
};

// Of a key that exists elsewhere only; `sentence` is that of Schema::refused: reason, colon, how to mend it.
Problem refused_key(const Place& place, const std::string& key, const std::string& sentence);
// What None for a section that cannot be absent is answered with.
inline constexpr const char* kAlwaysThere = "the section is always there: leave it out for its defaults";
// True if a refused field is given a value that changes nothing here.
bool is_harmless(const Field& refused, const Node& value);
bool is_harmless(const Field& refused, const std::string& flag_text);

// Throws bad_input with the first problem in full and the others as a line each; does nothing without a
// problem.
void throw_problems(std::vector<Problem> problems);

}  // namespace rlcpp::config
