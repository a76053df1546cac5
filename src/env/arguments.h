// env.args of the configuration, read strictly: a wrong type and an unknown name are errors that say what is
// known.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "env/environment.h"

namespace rlcpp::env {

class Arguments {
 public:
  // `json_text`: an object, or empty for none. `environment` is named in errors, which begin with the
  // argument's place if `places` has it.
  Arguments(const std::string& json_text, std::string environment, Places places = {});

  // Each marks `name` as known. Throws bad_input if the value has another type or is out of range.
  std::string text(const std::string& name, const std::string& otherwise);
  // None (null) gives nullopt.
  std::optional<std::string> optional_text(const std::string& name,
                                           const std::optional<std::string>& otherwise);
  std::int64_t integer(const std::string& name, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most);
  bool flag(const std::string& name, bool otherwise);
  std::vector<std::string> texts(const std::string& name, const std::vector<std::string>& otherwise);
  bool has(const std::string& name) const;

  // Call after the last read: throws bad_input for a name that nobody asked for.
  void refuse_others() const;
  Error refusal(const std::string& name, const std::string& because, const std::string& help) const;

 private:
  std::string at(const std::string& name) const;  // "a.toml:3: " or nothing
  const nlohmann::json* find(const std::string& name);

  nlohmann::json values_;
  std::string environment_;
  Places places_;
  std::set<std::string> known_;
};

}  // namespace rlcpp::env
