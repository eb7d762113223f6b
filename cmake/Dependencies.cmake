# Third-party libraries, each used behind one wrapper and absent from public headers.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(dnnl REQUIRED)
find_package(OpenMP REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
find_path(CBC_INCLUDE_DIR Cbc_C_Interface.h PATH_SUFFIXES coin REQUIRED)  # its pkg-config file asks for static needs
find_library(CBC_LIBRARY CbcSolver REQUIRED)
add_library(Cbc::Cbc UNKNOWN IMPORTED)
set_target_properties(Cbc::Cbc PROPERTIES IMPORTED_LOCATION ${CBC_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES
                      ${CBC_INCLUDE_DIR})

# libtorch: Torch_DIR or CMAKE_PREFIX_PATH when given, else the package inside the project's own environment (./setup).
if(VERNIER_LEARN)
  if(NOT Torch_DIR)
    file(GLOB torch_dirs ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/share/cmake/Torch)
    if(torch_dirs)
      list(GET torch_dirs 0 Torch_DIR)
      set(Torch_DIR ${Torch_DIR} CACHE PATH "Where TorchConfig.cmake is")
    endif()
  endif()
  find_package(Torch 2.4 QUIET)
  if(NOT Torch_FOUND)
    message(FATAL_ERROR "libtorch >= 2.4 was not found. Run tools/setup (it makes .venv), pass -DTorch_DIR=..., "
                        "or build without it: cmake --preset core")
  endif()
endif()
