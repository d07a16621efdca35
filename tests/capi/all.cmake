# Every function of every noun, injected faults, old clients, threads. OKAPI_ALL_TESTS adds these.
if(NOT OKAPI_SANITIZE)
  okapi_register_test(capi_exports
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/check_exports.py $<TARGET_FILE:okapi>
            ${symbols} ${headers})
endif()
okapi_add_c_test(capi_load_test SOURCES load_test.c LIBS ${CMAKE_DL_LIBS}
                 ARGS $<TARGET_FILE:okapi> ${OKAPI_LIB_DIR}/okapi)

# The second build of capi/src, in which every entry point can be made to fail. It exports what the
# product does and the two functions of fault.h, and has the debug information that the ABI's report reads.
get_target_property(sources okapi SOURCES)
list(TRANSFORM sources PREPEND ${capi_src}/)
add_library(okapi_with_faults SHARED ${sources} ${capi_src}/fault.cpp)
file(READ ${symbols} faults_script)
string(REPLACE "  local:" "    okapi_fault_arm;\n    okapi_fault_struck;\n  local:" faults_script
       "${faults_script}")
file(CONFIGURE OUTPUT okapi_with_faults.symbols CONTENT "${faults_script}" @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${symbols})
target_compile_options(okapi_with_faults PRIVATE -g)
target_link_options(okapi_with_faults PRIVATE
  -Wl,--version-script=${CMAKE_CURRENT_BINARY_DIR}/okapi_with_faults.symbols -Wl,--no-undefined-version)
target_link_libraries(okapi_with_faults
  PUBLIC okapi_headers
  PRIVATE okapi_build_flags "$<LINK_LIBRARY:WHOLE_ARCHIVE,okapi_runtime>")
target_compile_definitions(okapi_with_faults
  PUBLIC OKAPI_FAULT_INJECTION
  PRIVATE $<TARGET_PROPERTY:okapi,COMPILE_DEFINITIONS>)
set_target_properties(okapi_with_faults PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
okapi_add_test(capi_fault_test SOURCES fault_test.cpp LIBS okapi_with_faults nlohmann_json::nlohmann_json)

# okapi_add_noun_test(NAME [LABELS label...]): NAME_test.cpp against the product, with the fixture,
# which writes checkpoints by means of the engine's own code.
add_library(capi_fixture STATIC fixture.cpp ${PROJECT_SOURCE_DIR}/tests/support/tiny_model.cpp)
target_link_libraries(capi_fixture PUBLIC okapi okapi_runtime GTest::gmock PRIVATE okapi_build_flags)
target_compile_definitions(capi_fixture PRIVATE OKAPI_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
function(okapi_add_noun_test name)
  okapi_add_test(capi_${name}_test SOURCES ${name}_test.cpp LIBS capi_fixture ${ARGN})
endfunction()

foreach(noun runtime plugins model tokenizer rope session dataset task results evaluation)
  okapi_add_noun_test(${noun})
endforeach()

okapi_add_noun_test(destruction_order)
okapi_add_noun_test(two_runtimes)
okapi_add_noun_test(concurrency LABELS unit concurrency)
if(NOT OKAPI_SANITIZE)  # whose allocator is the program's own
  okapi_add_noun_test(allocation LABELS unit slow)
endif()

# A client of okapi 0.1: its headers, and of today's okapi the library alone.
set(old_abi ${PROJECT_SOURCE_DIR}/tests/data/abi/okapi-0.1)
set(abi_mode report)  # enforce, from the release of 0.1 on
add_executable(capi_old_client old_client.c)
target_include_directories(capi_old_client PRIVATE ${old_abi}/include)
target_link_libraries(capi_old_client PRIVATE okapi_build_flags $<TARGET_FILE:okapi>)
add_dependencies(capi_old_client okapi okapi_backend_cpu okapi_rope_linear)
set_target_properties(capi_old_client PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
okapi_register_test(capi_old_client COMMAND capi_old_client)
if(NOT OKAPI_SANITIZE)
  okapi_register_test(capi_abi_report
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/abi_report.py ${abi_mode}
            $<TARGET_FILE:okapi_with_faults> ${headers} ${old_abi}/okapi.abi)
  set_tests_properties(capi_abi_report PROPERTIES SKIP_RETURN_CODE 77)
endif()
