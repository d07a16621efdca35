# okapi_add_engine_test(NAME ...): as okapi_add_test, over the engine with the modules that a model and its
# sessions open at run time. Sources may include "tests/support/engine.h".
function(okapi_add_engine_test name)
  okapi_add_test(${name} LIBS okapi_runtime ${ARGN})
  okapi_targets_below(${PROJECT_SOURCE_DIR}/plugins/rope schemes)
  add_dependencies(${name} okapi_backend_cpu okapi_tokenizer_sentencepiece ${schemes})
endfunction()
