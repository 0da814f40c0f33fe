# The CUDA toolkit and the emulator.
#
#   BERT_CUDA       AUTO: build libbertc_cuda.so where a CUDA toolkit 12 or 13 is found; ON: require it; OFF: leave it out.
#   BERT_CUDA_HERE  set: the toolkit is there.
#   BERT_CUDA_EMULATOR_HERE  set: kernels can be compiled for the CPU, by a C++ compiler (GCC or Clang).
set(BERT_CUDA AUTO CACHE STRING "Build the CUDA provider: AUTO, ON or OFF")
set_property(CACHE BERT_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT BERT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "BERT_CUDA is ${BERT_CUDA}; it takes AUTO, ON or OFF")
endif()
include(CheckLanguage)

# The host side of the provider: C, built with the CUDA toolkit's headers, and with the emulator's.
set(BERT_CUDA_HOST backend context device elements followed_product prepared recording plan/attend plan/attention plan/composed_norm
                   plan/conv plan/disentangled_bias plan/e4m3_linear plan/einsum plan/elementwise plan/embed_layer_norm plan/few_bits
                   plan/fused_attention plan/gather plan/integer_product plan/layer_norm_linear plan/linear plan/matmul plan/movement plan/padding plan/parts
                   plan/plan plan/pool plan/projected_attention plan/quantize plan/quantized_linear plan/reduce
                   plan/rotary plan/rows plan/support plan/table way_check)

# The kernels, each NAME.cu with its NAME.h: the operations of cuda/ops, and how all are launched. Built by nvcc, and for the emulator.
set(BERT_CUDA_KERNELS launch ops/attention ops/attention_masks ops/bias_activation ops/byte_product ops/conv ops/difference ops/disentangled_bias
                      ops/einsum ops/elementwise ops/embedding ops/few_bits ops/gather ops/generate ops/layer_norm ops/lookup ops/moments ops/move ops/pool ops/product ops/quantize ops/quantize_e4m3 ops/quantized_add
                      ops/reduce ops/rotary ops/softmax ops/tensor_product ops/tokens)

# Machine code for what is common, PTX for what comes: Ampere, Ada, Hopper. CMake needs to know before it tries nvcc.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 89-real 90-real 90-virtual)
endif()

# Whether CMake takes the compiler. One whose host compiler is too new for it, say, ends enable_language, and with it the
# configuration; check_language asks only where no compiler is named.
function(bert_try_cuda works)
  set(folder ${CMAKE_BINARY_DIR}/CMakeFiles/bert_try_cuda)
  if(NOT BERT_CUDA_WORKS STREQUAL CMAKE_CUDA_COMPILER)
    file(REMOVE_RECURSE ${folder})
    file(WRITE ${folder}/CMakeLists.txt "cmake_minimum_required(VERSION 3.20)\nproject(try_cuda CUDA)\n")
    set(options "-DCMAKE_CUDA_FLAGS=${CMAKE_CUDA_FLAGS}")
    if(CMAKE_CUDA_HOST_COMPILER)
      list(APPEND options -DCMAKE_CUDA_HOST_COMPILER=${CMAKE_CUDA_HOST_COMPILER})
    endif()
    execute_process(COMMAND ${CMAKE_COMMAND} -S ${folder} -B ${folder} -G ${CMAKE_GENERATOR}
                            -DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM} -DCMAKE_CUDA_COMPILER=${CMAKE_CUDA_COMPILER}
                            ${options}
                    OUTPUT_VARIABLE log ERROR_VARIABLE log RESULT_VARIABLE result)
    file(WRITE ${folder}/log "${log}")
    if(result EQUAL 0)
      set(BERT_CUDA_WORKS ${CMAKE_CUDA_COMPILER} CACHE INTERNAL "The nvcc that was tried, and compiles")
    endif()
  endif()
  if(BERT_CUDA_WORKS STREQUAL CMAKE_CUDA_COMPILER)
    set(${works} ON PARENT_SCOPE)
  else()
    set(${works} OFF PARENT_SCOPE)
  endif()
endfunction()

# One step: finds nvcc, also where toolkits install themselves without a place in PATH.
function(bert_find_cuda reason)
  set(${reason} "" PARENT_SCOPE)
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(BERT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(NOT BERT_NVCC)
      set(${reason} "nvcc is not here" PARENT_SCOPE)
      return()
    endif()
    set(CMAKE_CUDA_COMPILER ${BERT_NVCC} PARENT_SCOPE)
    set(CMAKE_CUDA_COMPILER ${BERT_NVCC})
  endif()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE version ERROR_QUIET RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    set(${reason} "${CMAKE_CUDA_COMPILER} can't be run (${result})" PARENT_SCOPE)
  elseif(NOT version MATCHES "release ([0-9]+)[.]([0-9]+)" OR CMAKE_MATCH_1 LESS 12)
    set(${reason} "${CMAKE_CUDA_COMPILER} is not of CUDA 12 or later" PARENT_SCOPE)
  elseif(BERT_CUDA STREQUAL AUTO) # with ON enable_language says itself what is wrong
    bert_try_cuda(works)
    if(NOT works)
      set(${reason} "${CMAKE_CUDA_COMPILER} can't compile: CMakeFiles/bert_try_cuda/log says why" PARENT_SCOPE)
    endif()
  endif()
endfunction()

if(BERT_CUDA STREQUAL AUTO AND (BERT_SANITIZE OR BERT_FUZZ))
  message(STATUS "No CUDA provider: it gains nothing from sanitizers (BERT_CUDA=ON builds it all the same)")
elseif(NOT BERT_CUDA STREQUAL OFF)
  bert_find_cuda(bert_no_cuda)
  check_language(CXX)
  if(NOT bert_no_cuda AND NOT CMAKE_CXX_COMPILER)
    set(bert_no_cuda "nvcc needs a C++ compiler, and none is here")
  endif()
  if(bert_no_cuda AND BERT_CUDA STREQUAL ON)
    message(FATAL_ERROR "BERT_CUDA is ON, but ${bert_no_cuda}")
  elseif(bert_no_cuda)
    message(STATUS "No CUDA provider: ${bert_no_cuda}")
  else()
    enable_language(CXX)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    if(TARGET CUDA::cublasLt)
      set(BERT_CUDA_HERE ON)
      message(STATUS "CUDA provider: with CUDA ${CMAKE_CUDA_COMPILER_VERSION}")
    elseif(BERT_CUDA STREQUAL ON)
      message(FATAL_ERROR "BERT_CUDA is ON, but the toolkit has no cublasLt (the package libcublas-dev)")
    else()
      message(STATUS "No CUDA provider: the toolkit has no cublasLt (the package libcublas-dev)")
    endif()
  endif()
endif()

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)

# Sanitizers watch memory and stacks too, and get in the way of the emulator's own.
if(BERT_BUILD_TESTS AND BERT_SANITIZE)
  message(STATUS "No tests of CUDA kernels: the emulator does not run under sanitizers")
elseif(BERT_BUILD_TESTS)
  check_language(CXX)
  if(CMAKE_CXX_COMPILER)
    enable_language(CXX)
    set(BERT_CUDA_EMULATOR_HERE ON)
  else()
    message(STATUS "No tests of CUDA kernels: the emulator needs a C++ compiler (Debian: g++)")
  endif()
endif()

# bert_emulated_kernels(NAME SOURCES file.cu ...): .cu files compiled for the CPU, each memory access shown to the emulator.
# Optimized a little, for speed; in a debug build not at all, for the debugger.
function(bert_emulated_kernels name)
  cmake_parse_arguments(arg "" "" "SOURCES" ${ARGN})
  set_source_files_properties(${arg_SOURCES} PROPERTIES LANGUAGE CXX)
  add_library(${name} OBJECT ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/tests/cuda_emulator/include ${PROJECT_SOURCE_DIR}
                                            ${PROJECT_SOURCE_DIR}/core/include ${PROJECT_BINARY_DIR}/generated)
  target_compile_options(${name} PRIVATE -fsanitize=thread -g $<IF:$<CONFIG:Debug>,-O0,-O1> -Wall -Wextra -Wno-unused-parameter -ffp-contract=off
                                         $<$<CXX_COMPILER_ID:GNU>:--param=tsan-instrument-func-entry-exit=0>)
  if(BERT_WARNINGS_AS_ERRORS)
    target_compile_options(${name} PRIVATE -Werror)
  endif()
endfunction()
