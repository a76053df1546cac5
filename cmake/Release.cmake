# What is given out: an archive that runs where it is unpacked, and a Debian package. `cmake --workflow --preset release`
# (with CUDA) or release-cpu makes both in build/<preset>/packages; tools/check_release.sh tries them.
include(GNUInstallDirs)
set(CMAKE_INSTALL_DOCDIR share/doc/rlcpp)

install(TARGETS rlcpp RUNTIME DESTINATION bin)
if(RLCPP_MPI)
  install(TARGETS rlcpp_mpi LIBRARY DESTINATION lib)
endif()
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(DIRECTORY configs/ DESTINATION share/rlcpp/configs)
install(CODE "execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/collect_licences.sh ${CMAKE_BINARY_DIR}
                              \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DOCDIR}/licences\"
                              COMMAND_ERROR_IS_FATAL ANY)")

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_NAME rlcpp)
set(CPACK_PACKAGE_VENDOR "rl.cpp")
set(CPACK_PACKAGE_CONTACT "rl.cpp maintainers <maintainers@rlcpp.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Post-training of large language models in one binary")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(kind cpu)
if(RLCPP_CUDA)
  set(kind cuda)
endif()
set(CPACK_PACKAGE_FILE_NAME rlcpp-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}-${kind})
set(CPACK_DEBIAN_FILE_NAME rlcpp-${kind}_${PROJECT_VERSION}_amd64.deb)
set(CPACK_DEBIAN_PACKAGE_NAME rlcpp)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
# Everything but glibc is inside, or opened when it is first used. tools/check_release.sh holds the number to be right.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.35)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libcurl4 | libcurl4t64, libzstd1, zlib1g, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openmpi-bin")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${CPACK_PACKAGE_CONTACT}")
include(CPack)
