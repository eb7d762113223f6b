# vernier_units(area header type accessor prefix): turns src/<area>/UNITS into a table of descriptors.
#
# A UNITS line is `name library`: unit `int core` of area formats promises a definition
#   namespace vernier::units { extern const FormatDescriptor format_int; }
# somewhere under src/formats/. Dashes in names become underscores. `core` units are in the table that `accessor`
# returns; `learn` units are compiled into vernier_learn, and their descriptors live in core all the same.
function(vernier_units area header type accessor prefix)
  set(units_file ${PROJECT_SOURCE_DIR}/src/${area}/UNITS)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${units_file})
  file(STRINGS ${units_file} lines REGEX "^[a-z0-9]")
  set(declarations "")
  set(rows "")
  foreach(line IN LISTS lines)
    string(REGEX MATCH "^[^ ]+" unit "${line}")
    string(REPLACE "-" "_" symbol "${unit}")
    string(APPEND declarations "extern const ${type} ${prefix}_${symbol};\n")
    string(APPEND rows "    &units::${prefix}_${symbol},\n")
  endforeach()
  set(path ${PROJECT_BINARY_DIR}/generated/${area}_units.cc)
  file(CONFIGURE OUTPUT ${path} @ONLY CONTENT "// Generated from src/${area}/UNITS.
#include \"${header}\"

namespace vernier {
namespace units {
@declarations@}  // namespace units

std::span<const ${type}* const> ${accessor}() {
  static const ${type}* const table[] = {
@rows@  };
  return table;
}

}  // namespace vernier
")
  set(vernier_units_source ${path} PARENT_SCOPE)
endfunction()
