# Every module is an object library: its tests link it alone, libbertc takes them all.

# Flags that every target of the project is compiled with.
add_library(bert_flags INTERFACE)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
target_compile_definitions(bert_flags INTERFACE _GNU_SOURCE)
# -ffp-contract=off: a product and a sum are fused only where a kernel says so, so that the same C gives the same bits.
target_compile_options(bert_flags INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
                                            -Wpointer-arith -Wundef -Wvla -Wno-unused-parameter -ffp-contract=off
                                            -fno-math-errno)
if(BERT_WARNINGS_AS_ERRORS)
  target_compile_options(bert_flags INTERFACE -Werror)
endif()
if(BERT_SANITIZE)
  # -O1: what sanitizers add takes the optimizer several times as long, and line numbers are all that reports need.
  target_compile_options(bert_flags INTERFACE -O1 -g1 -fsanitize=${BERT_SANITIZE} -fno-omit-frame-pointer
                                              -fno-sanitize-recover=all)
  # These GCC warnings follow values through what is optimized, and sanitizers mislead them; other builds have them.
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(bert_flags INTERFACE -Wno-maybe-uninitialized -Wno-format-truncation -Wno-nonnull)
  endif()
  target_link_options(bert_flags INTERFACE -fsanitize=${BERT_SANITIZE})
endif()
if(BERT_FUZZ)
  target_compile_options(bert_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(bert_flags INTERFACE Threads::Threads m)

set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# bert_module(NAME SOURCES ... [DEPENDS target ...]): the object library bert_NAME. Includes are written from the
# repository's root ("core/base/error.h") or as <bert/...>.
function(bert_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(bert_${name} OBJECT ${arg_SOURCES})
  target_include_directories(bert_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/core/include
                                                 ${PROJECT_BINARY_DIR}/generated)
  target_link_libraries(bert_${name} PUBLIC bert_flags ${arg_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY BERT_MODULES bert_${name})
endfunction()
