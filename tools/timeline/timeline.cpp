// Records what a program does on a GPU: every kernel, copy and fill with its start and end, through CUPTI.
// Not linked to anything: the driver loads it into the program that is looked at.
//   CUDA_INJECTION64_PATH=librlcpp_timeline.so RLCPP_TIMELINE=out.csv rlcpp sft --bench ...
//   python3 tools/timeline/report.py out.csv
// The file's lines are: start ns, end ns, stream, kind (kernel, copy, fill), name or bytes.
#include <cupti.h>
#include <cxxabi.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <unordered_map>

namespace {

constexpr std::size_t kBufferBytes = std::size_t{8} << 20;

std::mutex file_lock;
std::FILE* file = nullptr;

// "void rlcpp::ops::cuda::(anonymous namespace)::swiglu_kernel<true>(...)" -> "swiglu_kernel<true>".
std::string short_name(const char* mangled) {
  // Never destroyed: the last records come while the program ends, after its statics.
  static auto& known = *new std::unordered_map<std::string, std::string>;
  const auto [place, is_new] = known.try_emplace(mangled);
  if (!is_new) return place->second;
  int status = 0;
  char* readable = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : mangled;
  std::free(readable);
  int depth = 0;
  std::size_t end = name.size(), begin = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (c == '<') ++depth;
    if (c == '>') --depth;
    if (depth != 0) continue;
    if (c == '(' && name.compare(i, 11, "(anonymous ") != 0) {
      end = i;
      break;
    }
    if (c == ' ' || c == ':') begin = i + 1;
  }
  name = name.substr(begin, end - begin);
  for (char& c : name) {
    if (c == ',') c = ';';
  }
  place->second = name;
  return name;
}

void write(const CUpti_Activity* record) {
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto* k = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      std::fprintf(file, "%llu,%llu,%u,kernel,%s\n", static_cast<unsigned long long>(k->start),
                   static_cast<unsigned long long>(k->end), k->streamId, short_name(k->name).c_str());
      return;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const auto* c = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      std::fprintf(file, "%llu,%llu,%u,copy,%llu\n", static_cast<unsigned long long>(c->start),
                   static_cast<unsigned long long>(c->end), c->streamId,
                   static_cast<unsigned long long>(c->bytes));
      return;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const auto* m = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      std::fprintf(file, "%llu,%llu,%u,fill,%llu\n", static_cast<unsigned long long>(m->start),
                   static_cast<unsigned long long>(m->end), m->streamId,
                   static_cast<unsigned long long>(m->bytes));
      return;
    }
    default:
      return;
  }
}

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* most_records) {
  *size = kBufferBytes;
  *most_records = 0;
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
}

void CUPTIAPI take_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t, std::size_t valid) {
  const std::lock_guard<std::mutex> hold(file_lock);
  CUpti_Activity* record = nullptr;
  while (valid > 0 && cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) write(record);
  std::free(buffer);
}

void at_exit() {
  cuptiActivityFlushAll(1);
  const std::lock_guard<std::mutex> hold(file_lock);
  std::fflush(file);
}

}  // namespace

// The driver calls this once, when the program first uses CUDA.
extern "C" int InitializeInjection() {
  const char* path = std::getenv("RLCPP_TIMELINE");
  file = std::fopen(path != nullptr ? path : "timeline.csv", "w");
  if (file == nullptr) return 0;
  cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
  for (const CUpti_ActivityKind kind :
       {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET}) {
    if (cuptiActivityEnable(kind) != CUPTI_SUCCESS)
      std::fprintf(stderr, "timeline: CUPTI refused kind %d\n", kind);
  }
  std::atexit(at_exit);
  return 1;
}
