# libbertc, shared and static, from every module's objects, and what an installation needs to be found.
include(CMakePackageConfigHelpers)
get_property(bert_modules GLOBAL PROPERTY BERT_MODULES)
list(TRANSFORM bert_modules REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE bert_objects)
set(bert_libraries PkgConfig::PROTOBUF_C PkgConfig::UTF8PROC PkgConfig::JANSSON PkgConfig::XXHASH Threads::Threads
                   ${CMAKE_DL_LIBS} m)

add_library(libbertc SHARED ${bert_objects})
add_library(libbertc_static STATIC ${bert_objects})
# The ABI follows the major version; before 1.0 every minor version may break it.
set_target_properties(libbertc PROPERTIES VERSION ${PROJECT_VERSION}
                                          SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                                          EXPORT_NAME bertc)
set_target_properties(libbertc_static PROPERTIES EXPORT_NAME bertc_static)
foreach(library libbertc libbertc_static)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME bertc LINKER_LANGUAGE C)
  target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/core/include>
                                                  $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
                                                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
target_link_libraries(libbertc PRIVATE $<BUILD_INTERFACE:bert_flags> ${bert_libraries})
target_link_libraries(libbertc_static PRIVATE $<BUILD_INTERFACE:bert_flags>)
target_link_libraries(libbertc_static PUBLIC ${bert_libraries})

install(TARGETS libbertc libbertc_static EXPORT bertc ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                                      LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/core/include/bert DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/generated/bert/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/bert)

configure_file(${PROJECT_SOURCE_DIR}/cmake/bertc.pc.in ${PROJECT_BINARY_DIR}/bertc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bertc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(bert_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bertc)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/bertcConfig.cmake.in ${PROJECT_BINARY_DIR}/bertcConfig.cmake
                              INSTALL_DESTINATION ${bert_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bertcConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bertcConfig.cmake ${PROJECT_BINARY_DIR}/bertcConfigVersion.cmake
        DESTINATION ${bert_package_dir})
install(EXPORT bertc NAMESPACE bertc:: FILE bertcTargets.cmake DESTINATION ${bert_package_dir})
