#include "fixed_order.h"

#include <cuda_bf16.h>

#include <stdexcept>

#include "common.h"

namespace gpu_facts {
namespace {

constexpr int block_k = 64;  // values of k a stage: 128 bytes a row
constexpr int row_bytes = block_k * 2;

struct Sizes {
  int m, n, k;
};

// Copies a stage of x and w rows into shared memory, 16 bytes at a time. The 16-byte chunks of row r are
// permuted by r % 8, which is the 128-byte swizzle that wgmma reads and which spares ldmatrix bank conflicts.
template <int BM, int BN, int Threads>
__device__ void load_stage(const __nv_bfloat16* x, const __nv_bfloat16* w, Sizes size, int m0, int n0, int k0,
                           std::uint32_t stage) {
#pragma unroll
  for (int index = static_cast<int>(threadIdx.x); index < (BM + BN) * 8; index += Threads) {
    const int row = index / 8, chunk = index % 8;
    const bool from_x = row < BM;
    const int in_tile = from_x ? row : row - BM;
    const bool outside = from_x && m0 + row >= size.m;  // filled with zeros
    const long long at = from_x ? static_cast<long long>(outside ? 0 : m0 + row) : n0 + in_tile;
    const __nv_bfloat16* source = (from_x ? x : w) + at * size.k + k0 + chunk * 8;
    const std::uint32_t target = stage + row * row_bytes + ((chunk ^ (in_tile & 7)) << 4);
    const int bytes = outside ? 0 : 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes));
  }
}

__device__ void commit_stage() {
  asm volatile("cp.async.commit_group;");
}

template <int Pending>
__device__ void wait_stages() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

__device__ void load_matrix(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

__device__ void mma(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ void store_pair(__nv_bfloat16* y, Sizes size, int row, int column, float a, float b) {
  if (row >= size.m) return;
  *reinterpret_cast<__nv_bfloat162*>(y + static_cast<long long>(row) * size.n + column) =
      __floats2bfloat162_rn(a, b);
}

template <int BM, int BN, int WarpsM, int WarpsN, int Stages>
__global__ __launch_bounds__(WarpsM* WarpsN * 32) void mma_product(const __nv_bfloat16* x,
                                                                   const __nv_bfloat16* w, __nv_bfloat16* y,
                                                                   Sizes size) {
  constexpr int threads = WarpsM * WarpsN * 32;
  constexpr int tiles_m = BM / WarpsM / 16, tiles_n = BN / WarpsN / 8;
  static_assert(tiles_n % 2 == 0);
  constexpr std::uint32_t stage_bytes = (BM + BN) * row_bytes;
  extern __shared__ __align__(1024) unsigned char memory[];
  const std::uint32_t base = static_cast<std::uint32_t>(__cvta_generic_to_shared(memory));
  const int m0 = static_cast<int>(blockIdx.x) * BM, n0 = static_cast<int>(blockIdx.y) * BN;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_m = warp / WarpsN * (BM / WarpsM), warp_n = warp % WarpsN * (BN / WarpsN);
  float acc[tiles_m][tiles_n][4] = {};
  const int steps = size.k / block_k;
  for (int s = 0; s < Stages - 1; ++s) {
    if (s < steps) load_stage<BM, BN, threads>(x, w, size, m0, n0, s * block_k, base + s * stage_bytes);
    commit_stage();
  }
  for (int step = 0; step < steps; ++step) {
    wait_stages<Stages - 2>();
    __syncthreads();
    const int next = step + Stages - 1;
    if (next < steps) {
      load_stage<BM, BN, threads>(x, w, size, m0, n0, next * block_k, base + (next % Stages) * stage_bytes);
    }
    commit_stage();
    const std::uint32_t x_at = base + (step % Stages) * stage_bytes, w_at = x_at + BM * row_bytes;
#pragma unroll
    for (int kk = 0; kk < block_k / 16; ++kk) {
      std::uint32_t a[tiles_m][4], b[tiles_n / 2][4];
#pragma unroll
      for (int i = 0; i < tiles_m; ++i) {
        const int row = warp_m + i * 16 + (lane & 15), chunk = kk * 2 + (lane >> 4);
        load_matrix(a[i], x_at + row * row_bytes + ((chunk ^ (row & 7)) << 4));
      }
#pragma unroll
      for (int j = 0; j < tiles_n / 2; ++j) {
        const int row = warp_n + j * 16 + (lane >> 4) * 8 + (lane & 7), chunk = kk * 2 + ((lane >> 3) & 1);
        load_matrix(b[j], w_at + row * row_bytes + ((chunk ^ (row & 7)) << 4));
      }
#pragma unroll
      for (int i = 0; i < tiles_m; ++i) {
#pragma unroll
        for (int j = 0; j < tiles_n; ++j) mma(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < tiles_m; ++i) {
#pragma unroll
    for (int j = 0; j < tiles_n; ++j) {
      const int row = m0 + warp_m + i * 16 + lane / 4, column = n0 + warp_n + j * 8 + lane % 4 * 2;
      store_pair(y, size, row, column, acc[i][j][0], acc[i][j][1]);
      store_pair(y, size, row + 8, column, acc[i][j][2], acc[i][j][3]);
    }
  }
}

template <int BM, int BN, int WarpsM, int WarpsN, int Stages>
void launch_mma(const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, Sizes size,
                cudaStream_t stream) {
  constexpr int bytes = Stages * (BM + BN) * row_bytes;
  const auto kernel = mma_product<BM, BN, WarpsM, WarpsN, Stages>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "shared memory");
  const dim3 grid(static_cast<unsigned>((size.m + BM - 1) / BM), static_cast<unsigned>(size.n / BN));
  kernel<<<grid, WarpsM * WarpsN * 32, bytes, stream>>>(x, w, y, size);
  check(cudaGetLastError(), "mma product");
}

// A matrix in shared memory whose rows are 128 bytes, 128-byte swizzled, groups of 8 rows 1024 bytes apart
// (PTX ISA, "matrix descriptor": address, leading and stride byte offsets in units of 16 bytes, swizzle mode
// 1 at bit 62).
__device__ std::uint64_t descriptor(std::uint32_t address) {
  return static_cast<std::uint64_t>((address & 0x3ffff) >> 4) | (std::uint64_t{1} << 16) |
         (std::uint64_t{1024 >> 4} << 32) | (std::uint64_t{1} << 62);
}

__device__ void wgmma_step(float (&acc)[64], std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0;\n}\n"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]), "+f"(acc[4]), "+f"(acc[5]), "+f"(acc[6]),
        "+f"(acc[7]), "+f"(acc[8]), "+f"(acc[9]), "+f"(acc[10]), "+f"(acc[11]), "+f"(acc[12]), "+f"(acc[13]),
        "+f"(acc[14]), "+f"(acc[15]), "+f"(acc[16]), "+f"(acc[17]), "+f"(acc[18]), "+f"(acc[19]),
        "+f"(acc[20]), "+f"(acc[21]), "+f"(acc[22]), "+f"(acc[23]), "+f"(acc[24]), "+f"(acc[25]),
        "+f"(acc[26]), "+f"(acc[27]), "+f"(acc[28]), "+f"(acc[29]), "+f"(acc[30]), "+f"(acc[31]),
        "+f"(acc[32]), "+f"(acc[33]), "+f"(acc[34]), "+f"(acc[35]), "+f"(acc[36]), "+f"(acc[37]),
        "+f"(acc[38]), "+f"(acc[39]), "+f"(acc[40]), "+f"(acc[41]), "+f"(acc[42]), "+f"(acc[43]),
        "+f"(acc[44]), "+f"(acc[45]), "+f"(acc[46]), "+f"(acc[47]), "+f"(acc[48]), "+f"(acc[49]),
        "+f"(acc[50]), "+f"(acc[51]), "+f"(acc[52]), "+f"(acc[53]), "+f"(acc[54]), "+f"(acc[55]),
        "+f"(acc[56]), "+f"(acc[57]), "+f"(acc[58]), "+f"(acc[59]), "+f"(acc[60]), "+f"(acc[61]),
        "+f"(acc[62]), "+f"(acc[63])
      : "l"(a), "l"(b), "r"(1));
#endif
}

// Two warpgroups, each 64 rows of a 128 x 128 tile.
template <int Stages>
__global__ __launch_bounds__(256) void wgmma_product(const __nv_bfloat16* x, const __nv_bfloat16* w,
                                                     __nv_bfloat16* y, Sizes size) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int tile = 128;
  constexpr std::uint32_t stage_bytes = 2 * tile * row_bytes;
  extern __shared__ __align__(1024) unsigned char memory[];
  const std::uint32_t base = static_cast<std::uint32_t>(__cvta_generic_to_shared(memory));
  const int m0 = static_cast<int>(blockIdx.x) * tile, n0 = static_cast<int>(blockIdx.y) * tile;
  const int group = static_cast<int>(threadIdx.x) / 128, thread = static_cast<int>(threadIdx.x) % 128;
  float acc[64] = {};
  const int steps = size.k / block_k;
  for (int s = 0; s < Stages - 2; ++s) {
    if (s < steps) load_stage<tile, tile, 256>(x, w, size, m0, n0, s * block_k, base + s * stage_bytes);
    commit_stage();
  }
  for (int step = 0; step < steps; ++step) {
    wait_stages<Stages - 3>();
    // What cp.async wrote must be visible to the asynchronous proxy through which wgmma reads.
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    const std::uint32_t x_at = base + (step % Stages) * stage_bytes;
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int kk = 0; kk < block_k / 16; ++kk) {
      wgmma_step(acc, descriptor(x_at + group * 64 * row_bytes + kk * 32),
                 descriptor(x_at + tile * row_bytes + kk * 32));
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    // One group may be in flight: the one before has been read, and so has the stage that is filled next,
    // which every warp passed before the barrier above.
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    const int next = step + Stages - 2;
    if (next < steps) {
      load_stage<tile, tile, 256>(x, w, size, m0, n0, next * block_k, base + (next % Stages) * stage_bytes);
    }
    commit_stage();
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const int row = m0 + group * 64 + thread / 32 * 16 + thread % 32 / 4,
              column = n0 + j * 8 + thread % 4 * 2;
    store_pair(y, size, row, column, acc[j * 4], acc[j * 4 + 1]);
    store_pair(y, size, row + 8, column, acc[j * 4 + 2], acc[j * 4 + 3]);
  }
#endif
}

}  // namespace

void fixed_order_product(FixedOrder kind, const void* x, const void* w, void* y, std::int64_t m,
                         std::int64_t n, std::int64_t k, cudaStream_t stream) {
  if (n % 128 != 0 || k % block_k != 0) throw std::runtime_error("n must be a multiple of 128 and k of 64");
  const Sizes size{static_cast<int>(m), static_cast<int>(n), static_cast<int>(k)};
  const auto* const a = static_cast<const __nv_bfloat16*>(x);
  const auto* const b = static_cast<const __nv_bfloat16*>(w);
  auto* const out = static_cast<__nv_bfloat16*>(y);
  if (kind == FixedOrder::wgmma) {
    constexpr int stages = 5, bytes = stages * 256 * row_bytes;
    check(cudaFuncSetAttribute(wgmma_product<stages>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "shared memory");
    const dim3 grid(static_cast<unsigned>((m + 127) / 128), static_cast<unsigned>(n / 128));
    wgmma_product<stages><<<grid, 256, bytes, stream>>>(a, b, out, size);
    check(cudaGetLastError(), "wgmma product");
  } else if (m <= 16) {
    launch_mma<16, 32, 1, 2, 8>(a, b, out, size, stream);
  } else if (m <= 256) {
    launch_mma<64, 64, 2, 2, 5>(a, b, out, size, stream);
  } else {
    launch_mma<128, 128, 2, 4, 3>(a, b, out, size, stream);
  }
}

}  // namespace gpu_facts
