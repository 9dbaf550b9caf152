# The one table of ISA flags. A kernel source named after a row is built with that row's flags and no
# others, and with TW_ISA set to its name, the namespace of all that it instantiates; every other source is built for the baseline. `TILEWORK_ISAS` lists the rows this target can run.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(TILEWORK_ISA_baseline -march=x86-64-v2)
  # What processors before 2013 run: -O2 is a thirtieth of the wheel less (docs/building.md).
  set(TILEWORK_ISA_generic -O2)
  set(TILEWORK_ISA_avx2 -mavx2 -mfma -mbmi2)
  set(TILEWORK_ISA_avx512 -mavx2 -mfma -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl
                          -mprefer-vector-width=512)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Its own intrinsics read _mm512_undefined_epi32() and warn of it (gcc bug 105593).
    list(APPEND TILEWORK_ISA_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set(TILEWORK_ISA_avx512bf16 ${TILEWORK_ISA_avx512} -mavx512bf16)
  set(TILEWORK_ISA_amx ${TILEWORK_ISA_avx512} -mamx-tile -mamx-bf16)
  set(TILEWORK_ISAS generic avx2 avx512 avx512bf16 amx)
  if(TILEWORK_AVX512_TWIN)
    # Each vector is passed in memory there, of which gcc's -Wpsabi warns; and to optimise what that
    # comes to takes minutes a file.
    set(TILEWORK_ISA_avx512 ${TILEWORK_ISA_avx2} -O1 -Wno-psabi -DTILEWORK_AVX512_TWIN
                            -include ${CMAKE_CURRENT_LIST_DIR}/avx512_twin.h)
    set(TILEWORK_ISA_avx512bf16 ${TILEWORK_ISA_avx512})
  endif()
  if(TILEWORK_TILE_TWIN)
    set(TILEWORK_ISA_twin ${TILEWORK_ISA_avx512})
    list(APPEND TILEWORK_ISAS twin)
  endif()
else()
  set(TILEWORK_ISA_baseline "")
  set(TILEWORK_ISA_generic "")
  set(TILEWORK_ISAS generic)
endif()

# Adds csrc/kernels/FAMILY to TARGET: the driver, each ISA file that exists, and the binding.
function(tilework_add_family target family)
  set(dir ${CMAKE_CURRENT_SOURCE_DIR}/csrc/kernels/${family})
  if(EXISTS ${dir}/${family}.cc) # else a room that families share
    target_sources(${target} PRIVATE ${dir}/${family}.cc)
  endif()
  foreach(isa IN LISTS TILEWORK_ISAS)
    set(unchecked "")
    if(TILEWORK_SANITIZE STREQUAL "thread" AND NOT isa STREQUAL "generic")
      # Races are between tasks, which the driver cuts in the same way for every ISA: the loads and
      # stores of generic show them, and the others' would take most of the build.
      set(unchecked ";-fno-sanitize=thread")
    elseif(TILEWORK_SANITIZE AND isa IN_LIST TILEWORK_UNCHECKED_ISAS)
      set(unchecked ";-fno-sanitize=all")
    elseif(TILEWORK_SANITIZE MATCHES "address")
      # These double the time of the build, for every vector that a kernel passes by reference; a
      # bad pointer into an array shows without them.
      set(unchecked ";-fno-sanitize=null,object-size;-fno-sanitize-address-use-after-scope")
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${dir}/${isa}.cc ${dir}/${isa}_*.cc)
    target_sources(${target} PRIVATE ${sources})
    set_source_files_properties(${sources} PROPERTIES
      COMPILE_OPTIONS "${TILEWORK_ISA_${isa}};-fno-exceptions;-DTW_ISA=${isa}${unchecked}")
  endforeach()
endfunction()
