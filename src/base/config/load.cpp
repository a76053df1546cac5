#include "base/config/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <list>
#include <optional>

#include "base/config/bind.h"
#include "base/config/scalar.h"
#include "base/config/toml_reader.h"
#include "base/error.h"
#include "base/log.h"

namespace rlcpp::config {
namespace {

bool is_flag(const std::string& token) {
  return token.size() > 2 && token.starts_with("--");
}

std::string snake(std::string text) {
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

Place flag_place(const std::string& flag) {
  Place place;
  place.flag = flag;
  return place;
}

// One flag as written, before its meaning is known.
struct Flag {
  std::string name;  // "--optim.lr"
  std::vector<std::string> path;
  bool has_value = false;  // --a.b=value
  std::string value;

  explicit Flag(const std::string& token) {
    const std::size_t equals = token.find('=');
    name = token.substr(0, equals);
    has_value = equals != std::string::npos;
    if (has_value) value = token.substr(equals + 1);
    path = split_key(snake(name.substr(2)));
  }
};

struct FileArgument {
  std::string path;
  std::vector<std::string> mount;  // empty: the whole configuration
  Place place;
};

// Takes the files out of the arguments: "@ FILE" and "--a.b @ FILE". What is left are flags and their values.
std::vector<FileArgument> take_files(const std::vector<std::string>& arguments,
                                     std::vector<std::string>& rest) {
  std::vector<FileArgument> files;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] != "@") {
      rest.push_back(arguments[i]);
      continue;
    }
    FileArgument file;
    file.place = flag_place("command line");
    if (!rest.empty() && i > 0 && is_flag(arguments[i - 1]) &&
        arguments[i - 1].find('=') == std::string::npos) {
      const Flag flag(rest.back());
      rest.pop_back();
      file.mount = flag.path;
      file.place = flag_place(flag.name);
    }
    if (i + 1 == arguments.size() || is_flag(arguments[i + 1])) {
      throw bad_input(file.place.long_text() + ": @ needs the path of a TOML file after it", {},
                      "write @ configs/a.toml");
    }
    file.path = arguments[++i];
    files.push_back(std::move(file));
  }
  return files;
}

// Binds `path` after the files it inherits from. `open` holds the files being read, for cycles.
void bind_with_parents(Binder& binder, const std::string& path, const Place& asked_at,
                       std::vector<std::filesystem::path>& open) {
  std::error_code ignored;
  const std::filesystem::path identity = std::filesystem::weakly_canonical(path, ignored);
  if (std::find(open.begin(), open.end(), identity) != open.end()) {
    throw_problems(
        {{asked_at, "toml_files go round in a circle",
          fmt::format("{} is already being read", printable(path)), "remove one of the toml_files entries"}});
  }
  open.push_back(identity);
  Node tree = read_toml(path, asked_at);
  for (auto entry = tree.entries.begin(); entry != tree.entries.end();) {
    if (entry->key != "toml_files") {
      ++entry;
      continue;
    }
    if (entry->value.kind != Node::Kind::kArray) {
      throw_problems({{entry->place, "toml_files must be a list of paths", "it is " + kind_name(entry->value),
                       "write toml_files = [\"base.toml\"]"}});
    }
    for (const Node& item : entry->value.items) {
      if (item.kind != Node::Kind::kString) {
        throw_problems({{item.place, "toml_files must be a list of paths", "this is " + kind_name(item),
                         "write toml_files = [\"base.toml\"]"}});
      }
      const std::filesystem::path parent = std::filesystem::path(path).parent_path() / item.text;
      bind_with_parents(binder, parent.lexically_normal().string(), item.place, open);
    }
    entry = tree.entries.erase(entry);
  }
  binder.bind_file(tree, {}, asked_at);
  open.pop_back();
}

// The flags of a command line, one after the other.
class FlagReader {
 public:
  FlagReader(const std::function<void(Schema&)>& describe, Binder& binder,
             const std::vector<std::string>& tokens)
      : describe_(describe), binder_(binder), tokens_(tokens) {}

  void read() {
    while (next_ < tokens_.size()) {
      const std::string& token = tokens_[next_++];
      if (!is_flag(token)) stray(token);
      read_flag(Flag(token));
    }
  }

 private:
  [[noreturn]] static void stray(const std::string& token) {
    std::string help = "options look like --optim.lr 1e-5 and files like @ configs/a.toml";
    if (token.size() > 1 && token.front() == '@')
      help = "write a space after @: @ " + printable(token.substr(1));
    if (token.ends_with(".toml") && token.front() != '@')
      help = "write @ before a file: @ " + printable(token);
    throw bad_input("unexpected argument \"" + printable(token) + "\"",
                    "it is neither an option nor the value of one", help);
  }

  bool more() const { return next_ < tokens_.size(); }

  // The value of a flag that must have one.
  std::string take_value(const Flag& flag, const std::string& key, const std::string& allowed) {
    if (flag.has_value) return flag.value;
    if (!more() || is_flag(tokens_[next_])) {
      throw bad_input(flag.name + " needs a value", key + " must be " + allowed,
                      more() ? fmt::format("a value that begins with -- is written {}=VALUE", flag.name)
                             : "write " + flag.name + " VALUE");
    }
    return tokens_[next_++];
  }

  // The value of a switch, if one follows it: --x true, --x=false, --ckpt None.
  std::optional<std::string> take_switch_value(const Flag& flag, bool none) {
    if (flag.has_value) return flag.value;
    if (!more()) return {};
    const std::string& token = tokens_[next_];
    if (token == "true" || token == "false" || token == "True" || token == "False" ||
        (none && token == "None")) {
      return tokens_[next_++];
    }
    return {};
  }

  Target probe(const std::vector<std::string>& path) {
    keep_.emplace_back();  // the target points into it
    describe_(keep_.back());
    return walk(keep_.back(), path, false);
  }

  void read_flag(const Flag& flag) {
    keep_.clear();
    const Place place = flag_place(flag.name);
    Target target = probe(flag.path);
    std::vector<std::string> path = flag.path;
    bool negated = false;
    // --no-log.file and --log.no-file, unless a key of that very name exists.
    for (const std::size_t i : {std::size_t{0}, path.size() - 1}) {
      if (target.kind != Target::Kind::kUnknown || negated || !flag.path[i].starts_with("no_")) continue;
      path = flag.path;
      path[i] = path[i].substr(3);
      Target positive = probe(path);
      if (positive.kind == Target::Kind::kUnknown) continue;
      target = std::move(positive);
      negated = true;
    }
    switch (target.kind) {
      case Target::Kind::kUnknown:
      case Target::Kind::kBadIndex:
        throw_problems({binder_.unknown(fmt::format("{}", fmt::join(flag.path, ".")), place, target.hint)});
        return;
      case Target::Kind::kRefused:
        read_refused(flag, target, negated, place);
        return;
      case Target::Kind::kField:
        read_field(flag, target, path, negated, place);
        return;
      case Target::Kind::kSection:
        read_section(flag, target, path, negated, place);
        return;
      case Target::Kind::kList:
        throw bad_input(
            fmt::format("{} is a list of tables", flag.name), {},
            fmt::format(
                "set the keys of one element, as in --{}.0.KEY VALUE, or put a file there: --{}.0 @ FILE",
                target.key, target.key));
      case Target::Kind::kFree:
        if (negated) no_negation(flag, target.key + " is a table");
        binder_.bind_flag(target, path, take_value(flag, target.key, "a value"), place);
        return;
    }
  }

  // Some values of a key that does not exist here change nothing.
  void read_refused(const Flag& flag, const Target& target, bool negated, const Place& place) {
    const Field& field = *target.field;
    bool harmless = false;
    if (target.rest.empty() && negated) {
      harmless = is_harmless(field, "false") || is_harmless(field, "None");
    } else if (target.rest.empty() && (flag.has_value || (more() && !is_flag(tokens_[next_])))) {
      harmless = is_harmless(field, flag.has_value ? flag.value : tokens_[next_++]);
    }
    if (!harmless) throw_problems({refused_key(place, target.key, field.refused)});
  }

  [[noreturn]] static void no_negation(const Flag& flag, const std::string& because) {
    throw bad_input(flag.name + " is not possible", because,
                    "--no- is for switches and for what may be None");
  }

  void read_field(const Flag& flag, const Target& target, const std::vector<std::string>& path, bool negated,
                  const Place& place) {
    const Field& field = *target.field;
    if (negated) {
      if (field.type != ValueType::kBool && !field.optional)
        no_negation(flag, target.key + " always has a value");
      if (flag.has_value)
        throw bad_input(flag.name + " takes no value", "it was given \"" + printable(flag.value) + "\"");
      binder_.negate(target, path, place);
    } else if (field.type == ValueType::kBool) {
      binder_.bind_flag(target, path, take_switch_value(flag, field.optional).value_or("true"), place);
    } else {
      binder_.bind_flag(target, path, take_value(flag, target.key, allowed_text(field)), place);
    }
  }

  void read_section(const Flag& flag, const Target& target, const std::vector<std::string>& path,
                    bool negated, const Place& place) {
    if (target.element || !target.child->optional) {
      if (!negated && take_switch_value(flag, true) == "None")
        throw_problems({refused_key(place, target.key + " = None", kAlwaysThere)});
      if (negated) no_negation(flag, target.key + " is a section that is always there");
      throw bad_input(flag.name + " is a section, not a value", {},
                      fmt::format("set a key in it, as in --{}.KEY VALUE, or put a file there: --{} @ FILE",
                                  target.key, target.key));
    }
    const std::string text = negated ? "None" : take_switch_value(flag, true).value_or("true");
    if (negated && flag.has_value) throw bad_input(flag.name + " takes no value");
    const bool off = text == "None" || text == "false" || text == "False";
    if (!off && text != "true" && text != "True") {
      throw bad_input(flag.name + " is a section, not a value", "it was given \"" + printable(text) + "\"",
                      fmt::format("--{} switches it on, --no-{} off, and --{}.KEY VALUE sets a key in it",
                                  target.key, target.key, target.key));
    }
    binder_.switch_section(path, !off, place);
  }

  const std::function<void(Schema&)>& describe_;
  Binder& binder_;
  const std::vector<std::string>& tokens_;
  std::size_t next_ = 0;
  std::list<Schema> keep_;
};

}  // namespace

Loaded load(const std::function<void(Schema&)>& describe, const std::vector<std::string>& arguments) {
  Loaded loaded;
  Binder binder(describe, loaded);
  std::vector<std::string> flags;
  for (const FileArgument& file : take_files(arguments, flags)) {
    if (file.mount.empty()) {
      std::vector<std::filesystem::path> open;
      bind_with_parents(binder, file.path, file.place, open);
    } else {
      binder.bind_file(read_toml(file.path, file.place), file.mount, file.place);
    }
  }
  FlagReader(describe, binder, flags).read();
  return loaded;
}

}  // namespace rlcpp::config
