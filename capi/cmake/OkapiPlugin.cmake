# okapi_add_plugin(KIND NAME [SOURCES file...]): builds NAME.cpp (or the sources given) as an okapi
# plugin of KIND rope, dataset or task. Serves this tree and, installed, anyone's.
function(okapi_add_plugin kind name)
  cmake_parse_arguments(arg "" "" "SOURCES" ${ARGN})
  if(NOT arg_SOURCES)
    set(arg_SOURCES ${name}.cpp)
  endif()
  set(target okapi_${kind}_${name})
  add_library(${target} MODULE ${arg_SOURCES})
  if(TARGET okapi_headers)
    target_link_libraries(${target} PRIVATE okapi_headers okapi_build_flags)
  else()
    target_link_libraries(${target} PRIVATE okapi::headers)
  endif()
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name}
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(OKAPI_PLUGIN_DIR)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${OKAPI_PLUGIN_DIR}/${kind})
  endif()
endfunction()
