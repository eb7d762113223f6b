# vernier_precompile(TARGET FROM [HEADERS...]): with VERNIER_PCH, TARGET shares the precompiled headers of FROM, whose compile
# definitions it must have; where FROM is TARGET itself, it gets its own: HEADERS and what most files include.
function(vernier_precompile target from)
  if(NOT VERNIER_PCH)
    return()
  endif()
  if(target STREQUAL from)
    target_precompile_headers(${target} PRIVATE <algorithm> <cmath> <filesystem> <functional> <map> <memory> <optional> <span>
                              <string> <vector> <fmt/format.h> ${PROJECT_SOURCE_DIR}/src/base/json.h ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${from})
  endif()
endfunction()
