# What `cmake --install` puts where: docs/how-to/install.md. The programs are installed where they are declared.
include(CMakePackageConfigHelpers)

# The update algebra, for other programs: find_package(tributary) gives tributary::optim and tributary::common.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tributary)
install(TARGETS tributary_common tributary_optim EXPORT tributary ARCHIVE COMPONENT development)
install(EXPORT tributary NAMESPACE tributary:: FILE tributaryTargets.cmake DESTINATION ${package_dir}
  COMPONENT development)
configure_package_config_file(cmake/tributaryConfig.cmake.in ${PROJECT_BINARY_DIR}/tributaryConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before version 1 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tributaryConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tributaryConfig.cmake ${PROJECT_BINARY_DIR}/tributaryConfigVersion.cmake DESTINATION ${package_dir}
  COMPONENT development)
# Included as in the tree, "optim/encoder.h"; without what needs gRPC or CLI11.
install(DIRECTORY common optim DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tributary COMPONENT development FILES_MATCHING PATTERN "*.h"
  PATTERN command_line.h EXCLUDE PATTERN grpc_log.h EXCLUDE PATTERN pki.h EXCLUDE PATTERN tls.h EXCLUDE PATTERN x509.h EXCLUDE)

# Side by side as in the tree, so that the links between them hold.
install(FILES README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT cli)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT cli)
if(TRIBUTARY_SERVICE)
  install(DIRECTORY deploy/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/tributary COMPONENT cli)
endif()
