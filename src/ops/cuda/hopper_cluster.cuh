// Pairs of blocks that share tiles (clusters of Hopper), and tiles that leave through the copy engine, as PTX
// has them. Only for sm_90a, like hopper.cuh.
#pragma once

#include "ops/cuda/hopper.cuh"

namespace rlcpp::ops::cuda {

#if RLCPP_SM90A

// Which block of its cluster this is.
__device__ inline int cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
// All threads of all blocks of the cluster meet; what they wrote to shared memory before is seen after.
__device__ inline void cluster_meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// One arrival at the barrier that block `rank` of the cluster has where this block has `barrier`. It says
// that products are done with a tile, which the copy engine then overwrites: nothing that this thread wrote
// is published, so it orders no more than in its own block (for the cluster it would be a fence of the whole
// GPU).
__device__ inline void barrier_arrive_at(std::uint64_t* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
// As copy_box, to the same place of every block whose bit is set in `blocks`; each one's own barrier hears of
// it.
__device__ inline void copy_box_to(std::uint16_t blocks, void* to, const CUtensorMap* map, int column,
                                   int row, std::uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(blocks)
      : "memory");
}

// What this thread wrote to shared memory is seen by the copy engine (after meeting who tells it).
__device__ inline void fence_for_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// The box in shared memory, in the map's swizzle, goes to (column, row); what lies outside the matrix is left
// out. Queued as one group of this thread.
__device__ inline void store_box(const CUtensorMap* map, int column, int row, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(column), "r"(row), "r"(shared_address(from))
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until the memory of all but the newest kPending groups may be written again.
template <int kPending>
__device__ void stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Until everything is stored.
__device__ inline void stores_done() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
// Four 8 x 8 matrices of bf16, as a product lays them out over a warp, to shared memory: lane l gives the
// address of row l % 8 of matrix l / 8.
__device__ inline void store_matrices(std::uint32_t address, std::uint32_t a, std::uint32_t b,
                                      std::uint32_t c, std::uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a),
               "r"(b), "r"(c), "r"(d)
               : "memory");
}

#endif

}  // namespace rlcpp::ops::cuda
