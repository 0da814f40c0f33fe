# Finds what bert.c needs and says, all at once, what is missing and which Debian package has it.
find_package(PkgConfig)
if(NOT PkgConfig_FOUND)
  message(FATAL_ERROR "pkg-config is missing: install the Debian package pkg-config")
endif()
find_package(Threads REQUIRED)

set(bert_missing "")

# bert_need(PREFIX pkg-config-module debian-package): the imported target PkgConfig::PREFIX, or a line in bert_missing.
macro(bert_need prefix module package)
  pkg_check_modules(${prefix} QUIET IMPORTED_TARGET ${module})
  if(NOT ${prefix}_FOUND)
    list(APPEND bert_missing "  ${module}: install the Debian package ${package}")
  endif()
endmacro()

bert_need(OPENBLAS openblas libopenblas-dev)
bert_need(PROTOBUF_C libprotobuf-c libprotobuf-c-dev)
bert_need(UTF8PROC libutf8proc libutf8proc-dev)
bert_need(JANSSON jansson libjansson-dev)
bert_need(XXHASH libxxhash libxxhash-dev)
if(BERT_BUILD_TESTS)
  bert_need(CMOCKA cmocka libcmocka-dev)
endif()
find_program(PROTOC_C NAMES protoc-c)
if(NOT PROTOC_C)
  list(APPEND bert_missing "  protoc-c: install the Debian package protobuf-c-compiler")
endif()

if(bert_missing)
  list(JOIN bert_missing "\n" bert_missing)
  message(FATAL_ERROR "bert.c needs what is not installed here:\n${bert_missing}")
endif()
