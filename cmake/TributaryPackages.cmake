# Debian packages: `cpack --config build/release/CPackConfig.cmake -G DEB` (docs/how-to/install.md). What is here is in packages alone,
# because it belongs to programs below /usr; `cmake --install` leaves it out.
find_program(TRIBUTARY_HELP2MAN help2man)
find_program(TRIBUTARY_GZIP gzip)

# tributary_package(COMPONENT NAME "one line about it"): a program's package, with its page of the manual, if help2man is there to write it.
function(tributary_package component name about)
  install(FILES deploy/package/debian/copyright DESTINATION share/doc/${name} COMPONENT ${component} EXCLUDE_FROM_ALL)
  if(TRIBUTARY_HELP2MAN AND TRIBUTARY_GZIP)
    install(CODE "
      set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/man/man1\")
      file(MAKE_DIRECTORY \"\${folder}\")
      execute_process(COMMAND \"${TRIBUTARY_HELP2MAN}\" --no-info --name \"${about}\" --version-string ${PROJECT_VERSION}
        --source Tributary --output \"\${folder}/${name}.1\" \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name}\" COMMAND_ERROR_IS_FATAL ANY)
      execute_process(COMMAND \"${TRIBUTARY_GZIP}\" -9nf \"\${folder}/${name}.1\" COMMAND_ERROR_IS_FATAL ANY)"
      COMPONENT ${component} EXCLUDE_FROM_ALL)
  endif()
  string(TOUPPER ${component} key)
  set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${name} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_RECOMMENDS ca-certificates PARENT_SCOPE)
endfunction()

# tributary_service(COMPONENT NAME): its unit, its user, its place in /etc, and the scripts that bring it to life.
function(tributary_service component name)
  set(scripts ${PROJECT_BINARY_DIR}/package/${name})
  foreach(script IN ITEMS postinst prerm postrm)
    configure_file(deploy/package/debian/${script}.in ${scripts}/${script} @ONLY)
  endforeach()
  set(control ${scripts}/postinst ${scripts}/prerm ${scripts}/postrm)
  # Where the unit reads its environment from a file.
  if(EXISTS ${PROJECT_SOURCE_DIR}/deploy/package/debian/${name}.default)
    file(WRITE ${scripts}/conffiles "/etc/default/${name}\n")
    list(APPEND control ${scripts}/conffiles)
    install(FILES deploy/package/debian/${name}.default DESTINATION /etc/default RENAME ${name} COMPONENT ${component} EXCLUDE_FROM_ALL)
  endif()
  install(FILES deploy/systemd/${name}.service DESTINATION lib/systemd/system COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES deploy/package/debian/${name}.sysusers DESTINATION lib/sysusers.d RENAME ${name}.conf
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(DIRECTORY DESTINATION /etc/tributary COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES deploy/package/debian/${component}.yaml DESTINATION share/doc/${name}/examples
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  string(TOUPPER ${component} key)
  set(CPACK_DEBIAN_${key}_PACKAGE_CONTROL_EXTRA "${control}" PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers" PARENT_SCOPE)
endfunction()

tributary_package(cli tributary "operate a federation")
tributary_package(coordinator tributary-coordinator "schedule a federation's runs and aggregate their updates")
tributary_package(worker tributary-worker "train a federation's model on a site's data")
tributary_service(coordinator tributary-coordinator)
tributary_service(worker tributary-worker)
install(CODE "
  set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/bash-completion/completions\")
  file(MAKE_DIRECTORY \"\${folder}\")
  execute_process(COMMAND \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/tributary\" completion bash OUTPUT_FILE \"\${folder}/tributary\"
    COMMAND_ERROR_IS_FATAL ANY)"
  COMPONENT cli EXCLUDE_FROM_ALL)
install(FILES docs/how-to/run_the_coordinator.md DESTINATION share/doc/tributary-coordinator COMPONENT coordinator EXCLUDE_FROM_ALL)
install(FILES docs/how-to/run_a_worker.md DESTINATION share/doc/tributary-worker COMPONENT worker EXCLUDE_FROM_ALL)
install(DIRECTORY deploy/prometheus deploy/grafana DESTINATION share/tributary COMPONENT coordinator EXCLUDE_FROM_ALL
  FILES_MATCHING PATTERN "*.yaml" PATTERN "*.json")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tributary)
set(CPACK_PACKAGE_VENDOR Tributary)
set(CPACK_PACKAGE_CONTACT "Tributary maintainers <maintainers@localhost>")
set(CPACK_COMPONENTS_ALL cli coordinator worker)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_COMPONENT_CLI_DESCRIPTION "federated learning: the operator's command
 tributary submits and watches the runs of a federation, exports models, draws
 reports, and checks journals and backups. The documentation is in this package.")
set(CPACK_COMPONENT_COORDINATOR_DESCRIPTION "federated learning: the coordinator
 tributary-coordinator schedules the rounds of a federation's runs, aggregates the
 updates of its sites, and keeps the log that the model is made of.")
set(CPACK_COMPONENT_WORKER_DESCRIPTION "federated learning: the worker of one site
 tributary-worker trains a federation's model on this site's data, which stays
 here. It opens outgoing connections only.")
include(CPack)
