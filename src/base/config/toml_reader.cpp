#include "base/config/toml_reader.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <tuple>

// toml++ 3.3 asserts that a key begins like one before it has looked ("[=]" breaks it), and would assume it
// in a build with NDEBUG; the code behind that assertion reports the mistake properly. So that one is let
// through, and any other failed assertion becomes an exception: text from a user must never end the process.
namespace {
void toml_assertion_failed(std::string_view expression) {
  if (expression.find("is_bare_key_character") != std::string_view::npos) return;
  throw std::logic_error("toml++: " + std::string(expression));
}
}  // namespace
#undef NDEBUG
#define TOML_ASSERT(expression) ((expression) ? static_cast<void>(0) : toml_assertion_failed(#expression))
#include <toml++/toml.h>

#include "base/config/load.h"
#include "base/error.h"
#include "base/log.h"

namespace rlcpp::config {
namespace {

using Text = std::shared_ptr<const SourceText>;

Place place_of(const toml::source_region& region, const Text& text) {
  Place place;
  place.file = text;
  place.line = static_cast<int>(region.begin.line);
  place.column = static_cast<int>(region.begin.column);
  return place;
}

Node convert(const toml::node& node, const Text& text) {
  Node out;
  out.place = place_of(node.source(), text);
  if (const auto* table = node.as_table()) {
    out.kind = Node::Kind::kTable;
    for (const auto& [key, value] : *table) {
      out.entries.push_back({std::string(key.str()), place_of(key.source(), text), convert(value, text)});
    }
    // toml++ sorts by name; messages follow the file.
    std::stable_sort(out.entries.begin(), out.entries.end(), [](const Entry& a, const Entry& b) {
      return std::tuple(a.place.line, a.place.column) < std::tuple(b.place.line, b.place.column);
    });
  } else if (const auto* array = node.as_array()) {
    out.kind = Node::Kind::kArray;
    for (const auto& item : *array) out.items.push_back(convert(item, text));
  } else if (const auto* string = node.as_string()) {
    out.kind = Node::Kind::kString;
    out.text = string->get();
  } else if (const auto* integer = node.as_integer()) {
    out.kind = Node::Kind::kInt;
    out.integer = integer->get();
  } else if (const auto* real = node.as_floating_point()) {
    out.kind = Node::Kind::kFloat;
    out.real = real->get();
  } else if (const auto* boolean = node.as_boolean()) {
    out.kind = Node::Kind::kBool;
    out.boolean = boolean->get();
  } else {
    out.kind = Node::Kind::kDate;
    std::ostringstream stream;
    node.visit([&](const auto& value) {
      if constexpr (toml::is_date<decltype(value)> || toml::is_time<decltype(value)> ||
                    toml::is_date_time<decltype(value)>) {
        stream << value.get();
      }
    });
    out.text = stream.str();
  }
  return out;
}

std::string slurp(const std::string& path, const Place& asked_at) {
  const auto fail = [&](const std::string& because) {
    const std::string from = asked_at.file != nullptr ? asked_at.long_text() + ": " : std::string();
    throw bad_input(
        fmt::format("{}cannot read the configuration file {}{}", from, printable(path), asked_at.excerpt()),
        because, "give the path of a TOML file; toml_files are relative to the file that names them");
  };
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail(std::strerror(errno));
  if (S_ISDIR(status.st_mode)) fail("it is a directory");
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream content;
  content << stream.rdbuf();
  if (!stream || stream.bad()) {
    // An empty file sets failbit on `content`, not on `stream`; what fails here is the file itself.
    fail(std::strerror(errno));
  }
  return content.str();
}

}  // namespace

Node read_toml(const std::string& path, const Place& asked_at) {
  auto text = std::make_shared<SourceText>();
  text->path = path;
  text->content = slurp(path, asked_at);
  try {
    return convert(toml::parse(text->content, path), text);
  } catch (const toml::parse_error& error) {
    const Place place = place_of(error.source(), text);
    throw bad_input(place.long_text() + ": this is not valid TOML" + place.excerpt(),
                    printable(std::string_view(error.description())),
                    "strings need quotes, true and false are small, a table begins with [name]");
  } catch (const std::logic_error& error) {
    throw bad_input(printable(path) + ":1:1: this is not valid TOML", error.what(),
                    "the parser could not say where; halve the file to find the line");
  }
}

std::string toml_library_version() {
  return fmt::format("{}.{}.{}", TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH);
}

}  // namespace rlcpp::config
