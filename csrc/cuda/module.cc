// The extension module _cuda: the kernels on CUDA devices, built by nvcc (docs/gpu.md).
//
// The runtime is linked in: the module loads where there is no driver, and says so. It works in the
// current context of the calling thread, which is CuPy's, and on the stream that it is given.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/shared_memory.h"
#include "bindings/kernel_arguments.h"

namespace tilework {
namespace {

std::string text_of(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

std::string triple(const Three& three) {
  return std::to_string(three[0]) + " x " + std::to_string(three[1]) + " x " +
         std::to_string(three[2]);
}

// Under the GIL, which a launch keeps: it only queues work.
void allow_shared(const KernelEntry& kernel, size_t shared, cudaError_t& error) {
  static std::map<std::pair<int, const KernelEntry*>, size_t> allowed;
  int device = 0;
  error = cudaGetDevice(&device);
  if (error != cudaSuccess) return;
  size_t& most = allowed[{device, &kernel}];
  if (shared <= most) return;
  error =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel.function),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  if (error == cudaSuccess) most = shared;
}

void launch(const std::string& name, const Three& grid, const Three& block, size_t shared,
            uintptr_t stream, const py::tuple& arguments) {
  const KernelEntry& kernel = kernel_named(name);
  std::vector<uint64_t> slots = slots_of(kernel, arguments);
  std::vector<void*> places;
  places.reserve(slots.size());
  for (uint64_t& slot : slots) places.push_back(&slot);
  cudaError_t error = cudaSuccess;
  if (shared > kDynamicSharedUnasked) allow_shared(kernel, shared, error);
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(reinterpret_cast<const void*>(kernel.function),
                             {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]},
                             places.data(), shared, reinterpret_cast<cudaStream_t>(stream));
  }
  if (error != cudaSuccess) {
    cudaGetLastError();  // it is told here: a later call must not tell it again as its own
    throw std::runtime_error("[" + name + "] " + text_of(error) + " (grid " + triple(grid) +
                             ", block " + triple(block) + ", " + std::to_string(shared) +
                             " bytes of dynamic shared memory)");
  }
}

// How many devices there are, and why there are none.
std::pair<int, std::string> devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return {count, count > 0 ? "" : "no device"};
  cudaGetLastError();
  return {0, "no device: " + text_of(error)};
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "tilework's CUDA kernels.";
  m.attr("__version__") = TILEWORK_VERSION;
  m.def("launch", &launch);
  m.def("kernels", &kernel_list);
  m.def("device_count", [] { return devices().first; });
  m.def("refusal", [] { return devices().second; });
}

}  // namespace tilework
