// A driver of one card that is not there (libcuda.so.1), as far as CuPy and NVRTC ask it: kernels
// are found by any name, and launches do nothing.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { kMajor = 75, kMinor = 76, kNotFound = 500 };

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGet(int* device, int index) { return *device = index, 0; }
int cuDeviceGetAttribute(int* value, int which, int device) {
  *value = which == kMajor ? 9 : which == kMinor ? 0 : 1;
  return 0;
}
int cuDeviceGetName(char* name, int length, int device) {
  strncpy(name, "no card", (size_t)length);
  return 0;
}
int cuGetErrorName(int error, const char** text) { return *text = "CUDA_ERROR", 0; }
int cuGetErrorString(int error, const char** text) { return *text = "an error", 0; }
int cuGetExportTable(const void** table, const void* id) { return *table = NULL, kNotFound; }
int cuCtxGetCurrent(void** context) { return *context = (void*)1, 0; }
int cuCtxSetCurrent(void* context) { return 0; }
int cuCtxGetDevice(int* device) { return *device = 0, 0; }
int cuStreamGetCtx(void* stream, void** context) { return *context = (void*)1, 0; }
int cuModuleLoad(void** module, const char* path) { return *module = strdup(path), 0; }
int cuModuleLoadData(void** module, const void* image) { return *module = malloc(8), 0; }
int cuModuleUnload(void* module) { return free(module), 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  return *function = strdup(name), 0;
}
int cuModuleGetGlobal_v2(void** at, size_t* bytes, void* module, const char* name) {
  *bytes = 4096;
  return *at = calloc(1, *bytes), 0;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x,
                   unsigned y, unsigned z, unsigned shared, void* stream, void** arguments,
                   void** more) {
  return 0;
}
int cuFuncGetAttribute(int* value, int which, void* function) {
  return *value = which == 0 ? 1024 : 0, 0;
}
int cuFuncSetAttribute(void* function, int which, int value) { return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads,
                                                size_t shared) {
  return *blocks = 2, 0;
}
int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void* function, void* of_block,
                                     size_t shared, int limit) {
  *grid = 132;
  return *block = 256, 0;
}
