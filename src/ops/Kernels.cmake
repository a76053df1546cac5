# CPU kernels: one source (cpu/simd/*.inl) compiled once for each instruction set, chosen at run time. Only these files
# get the flags of their set, and they do not share the precompiled header, which was made without them. g++ 12 wrongly
# sees uninitialised values in its own AVX-512 header (GCC bug 105593).
set(rlcpp_kernels ${CMAKE_SOURCE_DIR}/src/ops/cpu/kernels)
set_source_files_properties(${rlcpp_kernels}_avx512.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON
  COMPILE_OPTIONS "-O3;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mfma;-mprefer-vector-width=512;-Wno-uninitialized;-Wno-maybe-uninitialized")
set_source_files_properties(${rlcpp_kernels}_avx2.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON
  COMPILE_OPTIONS "-O3;-mavx2;-mfma")
set_source_files_properties(${rlcpp_kernels}_portable.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "-O3")

# The speed of the operations against the measured peak: build/cpu/bin/bench_ops (benchmarks/ops).
if(RLCPP_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_executable(bench_ops ${CMAKE_SOURCE_DIR}/benchmarks/ops/bench_ops.cpp)
  target_link_libraries(bench_ops PRIVATE rlcpp_ops)
  set_target_properties(bench_ops PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin EXCLUDE_FROM_ALL ON)
endif()

# The only file that reads cudnn-frontend. Its headers warn with our flags, so they come as system headers; libcudnn is
# opened at run time, so that the binary starts where there is none.
if(RLCPP_CUDA)
  set_source_files_properties(${CMAKE_SOURCE_DIR}/src/ops/cuda/cudnn_attention.cpp PROPERTIES
    SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON
    COMPILE_DEFINITIONS "NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING;CUDNN_FRONTEND_SKIP_JSON_LIB"
    COMPILE_OPTIONS "-isystem;${RLCPP_CUDNN_FRONTEND_INCLUDE};-isystem;${RLCPP_CUDNN_INCLUDE}")
endif()
