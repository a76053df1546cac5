#include "dist/plugin/mpi_plugin.h"

#include <mpi.h>

#include <array>
#include <string>

namespace rlcpp::dist {
namespace {

MPI_Request request = MPI_REQUEST_NULL;

MPI_Datatype type_of(int width) {
  switch (width) {
    case 8:
      return MPI_UINT64_T;
    case 4:
      return MPI_UINT32_T;
    case 2:
      return MPI_UINT16_T;
    default:
      return MPI_UINT8_T;
  }
}

int initialise(int* rank, int* size) {
  int provided = 0;
  if (const int error = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided)) return error;
  if (provided < MPI_THREAD_SERIALIZED) return -1;
  // Errors are returned, so that they are reported like all others.
  if (const int error = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)) return error;
  if (const int error = MPI_Comm_rank(MPI_COMM_WORLD, rank)) return error;
  return MPI_Comm_size(MPI_COMM_WORLD, size);
}

const char* library() {
  static const std::string text = [] {
    std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> buffer{};
    int length = 0;
    MPI_Get_library_version(buffer.data(), &length);
    const std::string all(buffer.data());
    return all.substr(0, all.find_first_of(",\n"));
  }();
  return text.c_str();
}

const char* error_text(int error) {
  static thread_local std::array<char, MPI_MAX_ERROR_STRING> text;
  int length = 0;
  if (error == -1 || MPI_Error_string(error, text.data(), &length) != MPI_SUCCESS) {
    return "MPI was built without the thread support MPI_THREAD_SERIALIZED";
  }
  return text.data();
}

int all_to_all(const void* send, const int* send_counts, const int* send_places, void* receive,
               const int* receive_counts, const int* receive_places, int width) {
  return MPI_Ialltoallv(send, send_counts, send_places, type_of(width), receive, receive_counts,
                        receive_places, type_of(width), MPI_COMM_WORLD, &request);
}

int all_gather(void* data, const int* counts, const int* places, int width) {
  return MPI_Iallgatherv(MPI_IN_PLACE, 0, type_of(width), data, counts, places, type_of(width),
                         MPI_COMM_WORLD, &request);
}

int broadcast(void* data, int count, int width, int root) {
  return MPI_Ibcast(data, count, type_of(width), root, MPI_COMM_WORLD, &request);
}

int barrier() {
  return MPI_Ibarrier(MPI_COMM_WORLD, &request);
}

int test(int* done) {
  return MPI_Test(&request, done, MPI_STATUS_IGNORE);
}

int finalise() {
  return MPI_Finalize();
}

constexpr MpiPlugin kPlugin = {kMpiPluginVersion, &initialise, &library, &error_text, &all_to_all,
                               &all_gather,       &broadcast,  &barrier, &test,       &finalise};

}  // namespace
}  // namespace rlcpp::dist

extern "C" __attribute__((visibility("default"))) const rlcpp::dist::MpiPlugin* rlcpp_mpi_plugin() {
  return &rlcpp::dist::kPlugin;
}
