# Installs and exports. The build tree already has the layout of the installed one (see the root
# CMakeLists.txt), so every library and program is installed where it lies in the build tree; a new
# backend, plugin or binding needs no line here.

# okapi_targets_below(FOLDER OUT): every target made in FOLDER and below.
function(okapi_targets_below folder out)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(children DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(child IN LISTS children)
    okapi_targets_below(${child} deeper)
    list(APPEND targets ${deeper})
  endforeach()
  set(${out} ${targets} PARENT_SCOPE)
endfunction()

# okapi_install_in_place(TARGET): bin/ and lib/ as in the build tree, libokapi found relative to the file.
function(okapi_install_in_place target)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "MODULE_LIBRARY")
    get_target_property(folder ${target} LIBRARY_OUTPUT_DIRECTORY)
    file(RELATIVE_PATH below_lib ${OKAPI_LIB_DIR} ${folder})
    if(below_lib MATCHES "^\\.\\.")
      return()
    endif()
    cmake_path(APPEND CMAKE_INSTALL_LIBDIR ${below_lib} OUTPUT_VARIABLE destination)
    file(RELATIVE_PATH to_lib /${destination} /${CMAKE_INSTALL_LIBDIR})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${to_lib}")
    install(TARGETS ${target} LIBRARY DESTINATION ${destination})
  elseif(type STREQUAL "EXECUTABLE")
    get_target_property(left_out ${target} EXCLUDE_FROM_ALL)
    if(left_out)
      return()
    endif()
    file(RELATIVE_PATH to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${to_lib}")
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()

if(NOT TARGET okapi)
  return()
endif()

foreach(folder backends runtime plugins capi)
  okapi_targets_below(${PROJECT_SOURCE_DIR}/${folder} targets)
  foreach(target IN LISTS targets)
    okapi_install_in_place(${target})
  endforeach()
endforeach()

# What others link: okapi::okapi, and okapi::headers for plugins, which link nothing.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/okapi)
set_target_properties(okapi_headers PROPERTIES EXPORT_NAME headers)
install(TARGETS okapi okapi_headers EXPORT okapiTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT okapiTargets NAMESPACE okapi:: DESTINATION ${package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/capi/include/okapi DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

include(CMakePackageConfigHelpers)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/okapiConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/okapiConfig.cmake INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break the ABI.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/okapiConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/okapiConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/okapiConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/OkapiPlugin.cmake
              ${CMAKE_CURRENT_LIST_DIR}/okapi_plugin.symbols DESTINATION ${package_dir})

file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/okapi.pc.in ${CMAKE_CURRENT_BINARY_DIR}/okapi.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/okapi.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Experiments find the model by its place relative to theirs.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/scripts/experiments DESTINATION ${CMAKE_INSTALL_DATADIR}/okapi/scripts)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models DESTINATION ${CMAKE_INSTALL_DATADIR}/okapi)
