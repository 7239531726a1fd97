# One way to declare a library, a program and a test, so that a folder's CMakeLists.txt is a table.
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(TRIBUTARY_CCACHE ccache)
if(TRIBUTARY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TRIBUTARY_CCACHE})
endif()

# Options for our own code only; never global and never part of a library's interface, so that a consumer's flags stay theirs.
add_library(tributary_options INTERFACE)
target_compile_options(tributary_options INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter)
target_include_directories(tributary_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(tributary_options INTERFACE TRIBUTARY_VERSION="${PROJECT_VERSION}")
if(TRIBUTARY_SANITIZE STREQUAL "address")
  target_compile_options(tributary_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(tributary_options INTERFACE -fsanitize=address,undefined)
elseif(TRIBUTARY_SANITIZE STREQUAL "thread")
  target_compile_options(tributary_options INTERFACE -fsanitize=thread -fno-omit-frame-pointer -g1)
  target_link_options(tributary_options INTERFACE -fsanitize=thread)
elseif(NOT TRIBUTARY_SANITIZE STREQUAL "")
  message(FATAL_ERROR "TRIBUTARY_SANITIZE is empty, address or thread, not '${TRIBUTARY_SANITIZE}'")
endif()

# For the Python package, which is a shared object.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# tributary_library(NAME SOURCES file... [HEADERS file...] [DEPS target...] [PRIVATE_DEPS target...])
# makes library tributary_NAME with the alias tributary::NAME.
function(tributary_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS")
  add_library(tributary_${name} STATIC ${arg_SOURCES} ${arg_HEADERS})
  add_library(tributary::${name} ALIAS tributary_${name})
  set_target_properties(tributary_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(tributary_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                                      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tributary>)
  target_compile_features(tributary_${name} PUBLIC cxx_std_20)
  target_link_libraries(tributary_${name} PRIVATE $<BUILD_INTERFACE:tributary_options> PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
endfunction()

# tributary_program(NAME COMPONENT component SOURCES file... [DEPS target...]) makes the program bin/NAME and installs it.
function(tributary_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "COMPONENT" "SOURCES;DEPS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE tributary_options ${arg_DEPS})
  # A LibTorch that is not the system's is found where it was linked from.
  set_target_properties(${name} PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)
  install(TARGETS ${name} RUNTIME COMPONENT ${arg_COMPONENT})
endfunction()

# tributary_test(NAME SOURCES file... [DEPS target...] [LABELS label...] [TIMEOUT seconds])
# makes one GoogleTest program and registers it with ctest as one test. One that needs LibTorch gets the label `torch` besides.
function(tributary_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;DEPS;LABELS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if("tributary::torch" IN_LIST arg_DEPS OR "tributary::worker_training" IN_LIST arg_DEPS OR "torch" IN_LIST arg_LABELS)
    list(APPEND arg_LABELS torch)
    set_property(GLOBAL APPEND PROPERTY TRIBUTARY_TORCH_TEST_PROGRAMS ${name})
  else()
    set_property(GLOBAL APPEND PROPERTY TRIBUTARY_TEST_PROGRAMS ${name})
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE tributary_options ${arg_DEPS} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
