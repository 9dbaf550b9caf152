# Sets OUTPUT to a source for each .cuh of the families, of a compiler's own ending ("cc", "cu").
function(tilework_cuda_sources output ending)
  file(GLOB files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/csrc
    ${PROJECT_SOURCE_DIR}/csrc/kernels/*/*.cuh)
  set(sources "")
  foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/kernels/${name}.${ending})
    file(GENERATE OUTPUT ${source} CONTENT "#include \"${file}\"\n")
    list(APPEND sources ${source})
  endforeach()
  set(${output} ${sources} PARENT_SCOPE)
endfunction()
