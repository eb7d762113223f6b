# Files named after an instruction set, or cpu_<processor>.cc, are built for that processor alone.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(VERNIER_FOREIGN_SOURCES "(avx|vnni|amx|cpu_x86|panel_quads)[a-z0-9_]*[.]cc$")
else()
  set(VERNIER_FOREIGN_SOURCES "(neon|cpu_arm)[a-z0-9_]*[.]cc$")
endif()
