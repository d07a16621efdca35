# okapi_add_engine_test(NAME [CPU_ONLY] ...): as okapi_add_test, over the engine with the modules that a model
# and its sessions open at run time. Sources may include "tests/support/engine.h". CPU_ONLY: it starts programs
# of its own, which know no other backend.
function(okapi_add_engine_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "CPU_ONLY" "" "")
  set(ARGN ${arg_UNPARSED_ARGUMENTS})
  okapi_add_test(${name} LIBS okapi_test_support ${ARGN})
  okapi_targets_below(${PROJECT_SOURCE_DIR}/plugins/rope schemes)
  add_dependencies(${name} okapi_backend_cpu okapi_tokenizer_sentencepiece ${schemes})
  if(TARGET okapi_backend_cuda AND NOT arg_CPU_ONLY)
    add_dependencies(${name} okapi_backend_cuda)
    add_dependencies(cuda_tests ${name})
    okapi_register_test(cuda_${name} LABELS cuda COMMAND ${name})
    set_tests_properties(cuda_${name} PROPERTIES
      ENVIRONMENT OKAPI_TEST_BACKEND=cuda SKIP_RETURN_CODE 77)
  endif()
endfunction()
