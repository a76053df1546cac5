// A benchmark's result file.
#include "bench/result.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void result_file(std::string_view bytes) {
  accepted([&] {
    const bench::Result result = bench::from_json(std::string(bytes), "fuzz.json");
    const std::string name = result.config.file_name();
    require(name.find('/') == std::string::npos, "the name of a result's file is one name");
    const std::string text = bench::to_json(result);
    require(bench::to_json(bench::from_json(text, "again")) == text,
            "a result that is written again is the same");
  });
}

}  // namespace rlcpp::fuzz
