# Everything comes from installed packages, by name; nothing is downloaded during configure. `tools/install_deps.sh`
# installs what is missing.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

function(rlcpp_require_header variable header package)
  find_path(${variable} ${header})
  if(NOT ${variable})
    message(FATAL_ERROR "${header} is missing: install ${package}, or run tools/install_deps.sh")
  endif()
endfunction()

rlcpp_require_header(RLCPP_TOMLPP toml++/toml.h libtomlplusplus-dev)
rlcpp_require_header(RLCPP_JSON nlohmann/json.hpp nlohmann-json3-dev)
rlcpp_require_header(RLCPP_FMT fmt/format.h libfmt-dev)
rlcpp_require_header(RLCPP_PCRE2 pcre2.h libpcre2-dev)
rlcpp_require_header(RLCPP_UTF8PROC utf8proc.h libutf8proc-dev)

find_library(RLCPP_PCRE2_LIB NAMES libpcre2-8.a pcre2-8 REQUIRED)
find_library(RLCPP_UTF8PROC_LIB NAMES libutf8proc.a utf8proc REQUIRED)

# MPI is for a plugin (src/dist/plugin) and never linked into the binary; without it CPU ranks are threads only.
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI COMPONENTS CXX QUIET)
if(MPI_CXX_FOUND)
  set(RLCPP_MPI MPI::MPI_CXX)
endif()

if(RLCPP_CUDA)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a-real)
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc takes C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  find_package(CUDAToolkit REQUIRED)

  # cuBLASLt, cuDNN and NCCL: headers only. The libraries are loaded when they are first used, so that one binary starts on a
  # machine that has neither. cudnn-frontend is told to find cuDNN and the CUDA runtime in the same way.
  function(rlcpp_cuda_header target header)
    string(TOUPPER ${target}_INCLUDE variable)
    find_path(${variable} ${header}
              HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CMAKE_SOURCE_DIR}/.deps/cuda/include
                    ${CMAKE_SOURCE_DIR}/.deps/cudnn/include ${CMAKE_SOURCE_DIR}/.deps/cudnn-frontend/include
                    ${CMAKE_SOURCE_DIR}/.deps/nccl/include)
    if(NOT ${variable})
      message(FATAL_ERROR "${header} is missing: run tools/install_cuda.sh, which fetches what the CUDA build needs")
    endif()
    add_library(${target} INTERFACE)
    target_include_directories(${target} SYSTEM INTERFACE ${${variable}})
    target_link_libraries(${target} INTERFACE ${CMAKE_DL_LIBS})
  endfunction()
  rlcpp_cuda_header(rlcpp_cublaslt cublasLt.h)
  rlcpp_cuda_header(rlcpp_cudnn cudnn.h)
  rlcpp_cuda_header(rlcpp_nccl nccl.h)
  rlcpp_cuda_header(rlcpp_cudnn_frontend cudnn_frontend.h)
  target_compile_definitions(rlcpp_cudnn_frontend INTERFACE NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
                                                            CUDNN_FRONTEND_SKIP_JSON_LIB)
  target_link_libraries(rlcpp_cudnn_frontend INTERFACE rlcpp_cudnn)
endif()

# Options that every target of ours is compiled with.
add_library(rlcpp_options INTERFACE)
target_include_directories(rlcpp_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(rlcpp_options INTERFACE FMT_HEADER_ONLY=1 TOML_HEADER_ONLY=1)
# -ffp-contract=off: a product and a sum become one rounding only where the source says so. Without it the same
# expression could round differently in two translation units, and `exact` mode would not be.
target_compile_options(rlcpp_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wundef -Werror -ffp-contract=off
                            -fno-omit-frame-pointer>)
# The code is kept free of g++'s warnings; clang, which builds only the fuzzers, has others.
target_compile_options(rlcpp_options INTERFACE $<$<BOOL:${RLCPP_FUZZ}>:-Wno-error>)
# False alarms of g++ 12 on std::string (GCC bugs 105651 and 105329).
target_compile_options(rlcpp_options INTERFACE
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict -Wno-stringop-overflow>)
# g++ 13 takes every reference that a function returns for one into its arguments (GCC bug 107532).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  target_compile_options(rlcpp_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-dangling-reference>)
endif()
# With a sanitizer g++ loses count of what libstdc++ has initialised and how long its strings are.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND RLCPP_SANITIZE)
  target_compile_options(rlcpp_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized -Wno-array-bounds>)
endif()
target_link_libraries(rlcpp_options INTERFACE Threads::Threads)
if(RLCPP_SANITIZE)
  # A finding ends the program: undefined behaviour would else be a line that no test looks at.
  target_compile_options(rlcpp_options INTERFACE -fsanitize=${RLCPP_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(rlcpp_options INTERFACE -fsanitize=${RLCPP_SANITIZE})
endif()
