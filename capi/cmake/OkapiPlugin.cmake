# okapi_add_plugin(KIND NAME [SOURCES file...] [VENDOR domain] [VERSION text] [LICENSE spdx]): builds
# NAME.cpp (or the sources given, C or C++) as an okapi plugin of KIND rope, dataset or task, the file
# NAME.so, in a target okapi_KIND_NAME. Serves this tree and, installed, anyone's.
#
# VENDOR, VERSION and LICENSE go into the plugin's entry; the plugin's id is VENDOR.KIND.NAME. They
# default to the variables OKAPI_PLUGIN_VENDOR, PROJECT_VERSION and OKAPI_PLUGIN_LICENSE.
function(okapi_add_plugin kind name)
  cmake_parse_arguments(arg "" "VENDOR;VERSION;LICENSE" "SOURCES" ${ARGN})
  if(NOT kind MATCHES "^(rope|dataset|task)$")
    message(FATAL_ERROR "okapi_add_plugin: the kind is rope, dataset or task, not '${kind}'")
  endif()
  if(NOT arg_SOURCES)
    set(arg_SOURCES ${name}.cpp)
  endif()
  if(NOT arg_VENDOR)
    set(arg_VENDOR ${OKAPI_PLUGIN_VENDOR})
  endif()
  if(NOT arg_VERSION)
    set(arg_VERSION ${PROJECT_VERSION})
  endif()
  if(NOT arg_LICENSE)
    set(arg_LICENSE ${OKAPI_PLUGIN_LICENSE})
  endif()

  set(target okapi_${kind}_${name})
  add_library(${target} MODULE ${arg_SOURCES})
  if(TARGET okapi_headers)
    target_link_libraries(${target} PRIVATE okapi_headers okapi_build_flags)
  else()
    target_link_libraries(${target} PRIVATE okapi::headers)
  endif()
  target_compile_features(${target} PRIVATE cxx_std_20)
  foreach(fact VENDOR VERSION LICENSE)
    if(arg_${fact})
      target_compile_definitions(${target} PRIVATE OKAPI_PLUGIN_${fact}="${arg_${fact}}")
    endif()
  endforeach()

  # The entry is the one symbol a plugin exports; templates of the C++ library stay inside.
  set(symbols ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/okapi_plugin.symbols)
  target_link_options(${target} PRIVATE
    -Wl,--version-script=${symbols} -Wl,--no-undefined-version)
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${symbols})
  if(OKAPI_PLUGIN_DIR)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${OKAPI_PLUGIN_DIR}/${kind})
  endif()
endfunction()
