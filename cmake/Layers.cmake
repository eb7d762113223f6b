# Each folder of src/ is a layer and a static library that links the layers below it; together they are vernier_core.
# tools/check-layers holds includes to the same order.
include(Processor)
include(PrecompiledHeaders)
set(VERNIER_READERS base io arch containers pipeline)  # layers whose code the fuzz targets explore
function(vernier_layer name)
  cmake_parse_arguments(arg "" "" "BELOW;THIRD_PARTY;SOURCES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/onednn/library.cc$")
  list(FILTER sources EXCLUDE REGEX "${VERNIER_FOREIGN_SOURCES}")
  if(NOT sources)  # a layer may be empty
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/${name}_layer.cc CONTENT "\n")
    set(sources ${PROJECT_BINARY_DIR}/generated/${name}_layer.cc)
  endif()
  add_library(vn_${name} STATIC ${sources} ${arg_SOURCES})
  target_include_directories(vn_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  foreach(below IN LISTS arg_BELOW)
    target_link_libraries(vn_${name} PUBLIC vn_${below})
  endforeach()
  target_link_libraries(vn_${name} PUBLIC ${arg_THIRD_PARTY})
  set_property(GLOBAL APPEND PROPERTY vernier_third_party ${arg_THIRD_PARTY})
  if(NOT name IN_LIST VERNIER_READERS)
    vernier_precompile(vn_${name} vn_tensor)
    return()
  endif()
  vernier_precompile(vn_${name} vn_base)
  if(VERNIER_FUZZ)  # coverage feedback here alone: in the arithmetic it would only slow the tests
    target_compile_options(vn_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

vernier_layer(base THIRD_PARTY fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json Threads::Threads OpenMP::OpenMP_CXX)
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/base/version.cc PROPERTIES
                            COMPILE_DEFINITIONS VERNIER_VERSION="${PROJECT_VERSION}")
vernier_layer(tensor BELOW base)
vernier_layer(io BELOW tensor THIRD_PARTY PkgConfig::sentencepiece PkgConfig::pcre2 PkgConfig::utf8proc)
vernier_units(formats vernier/format.h FormatDescriptor formats format)
vernier_layer(formats BELOW io SOURCES ${vernier_units_source})
vernier_layer(kernels BELOW formats THIRD_PARTY ${CMAKE_DL_LIBS})
# Opened privately by src/kernels/onednn/open.cc, which says why.
add_library(vernier_onednn SHARED ${PROJECT_SOURCE_DIR}/src/kernels/onednn/library.cc)
target_include_directories(vernier_onednn PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(vernier_onednn PRIVATE DNNL::dnnl fmt::fmt)
add_dependencies(vn_kernels vernier_onednn)
vernier_units(arch arch/architecture.h ArchitectureDescriptor architectures arch)
vernier_layer(arch BELOW kernels SOURCES ${vernier_units_source})
vernier_layer(runtime BELOW arch)
vernier_units(eval eval/metric.h MetricDescriptor metrics metric)
vernier_layer(eval BELOW runtime SOURCES ${vernier_units_source})
vernier_units(containers containers/container.h ContainerDescriptor containers container)
vernier_layer(containers BELOW runtime SOURCES ${vernier_units_source})
vernier_units(methods methods/method.h MethodDescriptor methods method)
vernier_layer(methods BELOW runtime SOURCES ${vernier_units_source})

# Built-in recipes travel inside the library.
file(GLOB recipe_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/recipes/*.yaml)
set(recipe_rows "")
foreach(file IN LISTS recipe_files)
  get_filename_component(recipe ${file} NAME_WE)
  file(READ ${file} text)
  string(APPEND recipe_rows "    {\"${recipe}\", R\"vernier(${text})vernier\"},\n")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/recipes.cc @ONLY CONTENT "// Generated from recipes/.
#include \"pipeline/builtin_recipes.h\"

namespace vernier {

std::span<const BuiltinRecipe> builtin_recipes() {
  static const BuiltinRecipe table[] = {
@recipe_rows@  };
  return table;
}

}  // namespace vernier
")
vernier_layer(pipeline BELOW methods containers eval THIRD_PARTY yaml-cpp Cbc::Cbc ${CMAKE_DL_LIBS}
              SOURCES ${PROJECT_BINARY_DIR}/generated/recipes.cc)

set(VERNIER_CORE_LAYERS base tensor io formats kernels arch runtime eval containers methods pipeline)
list(TRANSFORM VERNIER_CORE_LAYERS REPLACE "(.+)" "$<TARGET_OBJECTS:vn_\\1>" OUTPUT_VARIABLE core_objects)
get_property(third_party GLOBAL PROPERTY vernier_third_party)
add_library(vernier_core SHARED ${core_objects})
target_link_libraries(vernier_core PRIVATE ${third_party})
add_dependencies(vernier_core vernier_onednn)
target_include_directories(vernier_core PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_include_directories(vernier_core INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
set_target_properties(vernier_core PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0 INSTALL_RPATH "$ORIGIN")

if(VERNIER_LEARN)
  file(GLOB_RECURSE learn_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/learn/*.cc)
  add_library(vernier_learn SHARED ${learn_sources})
  target_link_libraries(vernier_learn PUBLIC vernier_core PRIVATE ${TORCH_LIBRARIES} nlohmann_json::nlohmann_json)
  # libtorch brings fmt headers of its own version; header-only, they cannot clash with the library the core links.
  target_compile_definitions(vernier_learn PUBLIC FMT_HEADER_ONLY)
  target_precompile_headers(vernier_learn PRIVATE <ATen/ATen.h>)
  target_compile_options(vernier_learn PRIVATE ${TORCH_CXX_FLAGS})
endif()

vernier_units(cli cli/command.h CommandDescriptor commands command)
file(GLOB_RECURSE cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cli/*.cc)
add_executable(vernier ${cli_sources} ${vernier_units_source})
target_link_libraries(vernier PRIVATE vernier_core fmt::fmt nlohmann_json::nlohmann_json CLI11::CLI11)
vernier_precompile(vernier vernier <CLI/CLI.hpp>)
