#include <cstdio>
#include <exception>

#include "common.h"

namespace gpu_facts {

void emit(Json line, const std::string& row) {
  if (!row.empty()) line["row"] = row;
  std::printf("%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

bool guarded(const std::string& section, const std::string& label, const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    Json line;
    line["section"] = section;
    line["label"] = label;
    line["error"] = error.what();
    emit(std::move(line), label + ": ERROR " + error.what());
    return false;
  }
}

}  // namespace gpu_facts
