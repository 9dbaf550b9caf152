// An array of the simulated device for a test, made from the host's values and read back.
#pragma once

#include <vector>

#include "cudasim/memory.h"

namespace tilework::cudasim {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size), data_(static_cast<T*>(allocate(bytes()))) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    copy_in(data_, values.data(), bytes());
  }
  ~DeviceArray() { release(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }
  std::vector<T> values() const {
    std::vector<T> host(size_);
    copy_out(host.data(), data_, bytes());
    return host;
  }

 private:
  size_t size_;
  T* data_;
};

}  // namespace tilework::cudasim
