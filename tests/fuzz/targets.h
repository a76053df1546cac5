// Everything that reads bytes of others, one function a format. A target takes any bytes and returns;
// refusing them with bad_input is right, everything else (a crash, another exception, a result that does not
// hold together) ends the process. The preset `fuzz` makes a libFuzzer program of each (tools/fuzz.sh);
// seeds_test.cpp replays seeds and findings anywhere.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace rlcpp::fuzz {

using Target = void (*)(std::string_view);

// By name; a new target is a function in a file of its own and a line in targets.cpp.
const std::map<std::string, Target>& targets();

void broadcast(std::string_view bytes);
void chat_template(std::string_view bytes);
void command_line(std::string_view bytes);
void data_card(std::string_view bytes);
void data_rows(std::string_view bytes);
void gguf(std::string_view bytes);
void manifest(std::string_view bytes);
void parquet(std::string_view bytes);
void result_file(std::string_view bytes);
void rollouts(std::string_view bytes);
void safetensors(std::string_view bytes);
void tokenizer_json(std::string_view bytes);
void toml(std::string_view bytes);

// Runs `parse`; true if it returned, false if it refused the input with bad_input. Any other Error ends the
// process.
template <class Parse>
bool accepted(Parse&& parse);

// Ends the process, naming what does not hold.
[[noreturn]] void broken(const char* what);
inline void require(bool holds, const char* what) {
  if (!holds) broken(what);
}

// The bytes as a file that lives as long as this object.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

bool is_refusal(const std::exception& error);

template <class Parse>
bool accepted(Parse&& parse) {
  try {
    parse();
    return true;
  } catch (const std::exception& error) {
    if (!is_refusal(error)) throw;
    return false;
  }
}

}  // namespace rlcpp::fuzz
