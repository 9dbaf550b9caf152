// CUDA's runtime over the host's memory, for the module of CuPy's that has a copy of the real one
// in it: arrays are zeros, copies are made at once, streams and events are nothing. What stands
// here alone does something; tools/cupy_check.py adds the other names that CuPy calls.
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t) { return "an error"; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  *value = which == cudaDevAttrComputeCapabilityMajor   ? 9
           : which == cudaDevAttrComputeCapabilityMinor ? 0
           : which == cudaDevAttrMaxThreadsPerBlock     ? 1024
           : which == cudaDevAttrWarpSize               ? 32
           : which == cudaDevAttrPageableMemoryAccess   ? 0
                                                        : 128;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* found, int) {
  *found = {};
  strcpy(found->name, "no card");
  found->major = 9;
  found->warpSize = 32;
  found->multiProcessorCount = 132;
  found->maxThreadsPerBlock = 1024;
  found->sharedMemPerBlock = 48 * 1024;
  found->totalGlobalMem = size_t{16} << 30;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = size_t{8} << 30;
  return *total = size_t{16} << 30, cudaSuccess;
}
cudaError_t cudaMalloc(void** at, size_t bytes) {
  const size_t room = (bytes + 511) / 512 * 512 + 512;
  *at = memset(aligned_alloc(512, room), 0, room);
  return cudaSuccess;
}
cudaError_t cudaFree(void* at) { return free(at), cudaSuccess; }
cudaError_t cudaHostAlloc(void** at, size_t bytes, unsigned) { return cudaMalloc(at, bytes); }
cudaError_t cudaFreeHost(void* at) { return cudaFree(at); }
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return memmove(to, from, bytes), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  return memmove(to, from, bytes), cudaSuccess;
}
cudaError_t cudaMemset(void* at, int value, size_t bytes) {
  return memset(at, value, bytes), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return memset(at, value, bytes), cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* at) {
  *found = {};
  found->type = cudaMemoryTypeDevice;
  found->devicePointer = const_cast<void*>(at);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* made, unsigned, int) {
  return *made = static_cast<cudaStream_t>(malloc(8)), cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* made, unsigned flags) {
  return cudaStreamCreateWithPriority(made, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* made) {
  return cudaStreamCreateWithPriority(made, 0, 0);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return free(stream), cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* made, unsigned) {
  return *made = static_cast<cudaEvent_t>(malloc(8)), cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* made) { return cudaEventCreateWithFlags(made, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return free(event), cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  return *milliseconds = 1, cudaSuccess;
}

}  // extern "C"
