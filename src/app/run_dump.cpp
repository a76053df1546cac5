#include "app/run_dump.h"

#include <nlohmann/json.hpp>

#include "monitor/append.h"

namespace rlcpp::app {

void dump_rows(const std::string& path, std::int64_t step, const std::vector<data::MicroBatch>& batches) {
  nlohmann::ordered_json line;
  line["step"] = step;
  line["rows"] = nlohmann::ordered_json::array();
  for (const data::MicroBatch& batch : batches) {
    line["rows"].push_back({{"ids", batch.ids}, {"cu_seqlens", batch.cu_seqlens}, {"mask", batch.mask}});
  }
  monitor::append(durable::system_files(), path, line.dump() + "\n");
}

}  // namespace rlcpp::app
