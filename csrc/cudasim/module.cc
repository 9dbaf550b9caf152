// The extension module _cudasim: the kernels on the simulated device, for tests.
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "bindings/kernel_arguments.h"
#include "cudasim/fault.h"
#include "cudasim/launch.h"
#include "cudasim/memory.h"
#include "cudasim/traffic.h"

namespace tilework::cudasim {
namespace {

// An array's memory on the simulated device, with Python's buffer protocol.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) : bytes_(bytes), data_(allocate(bytes)) {}
  ~DeviceMemory() { release(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  py::buffer_info buffer() {
    return {data_, 1, py::format_descriptor<uint8_t>::format(), static_cast<py::ssize_t>(bytes_)};
  }

 private:
  size_t bytes_;
  void* data_;
};

void launch_named(const std::string& name, const Three& grid, const Three& block, size_t shared,
                  const py::tuple& arguments) {
  const KernelEntry& kernel = kernel_named(name);
  const uint64_t threads = uint64_t{block[0]} * block[1] * block[2];
  if (threads > static_cast<uint64_t>(kernel.threads)) {
    throw Fault("[" + name + "] a block of " + std::to_string(threads) +
                " threads, and the kernel is built for " + std::to_string(kernel.threads));
  }
  std::vector<uint64_t> words{reinterpret_cast<uintptr_t>(&kernel)};
  const std::vector<uint64_t> slots = slots_of(kernel, arguments);
  words.insert(words.end(), slots.begin(), slots.end());
  run(
      kernel.name, {{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared},
      [](void* p) {
        const auto* given = static_cast<const uint64_t*>(p);
        const auto* entry = reinterpret_cast<const KernelEntry*>(given[0]);
        entry->call(entry->function, given + 1);
      },
      words.data(), words.size() * sizeof(uint64_t));
}

void set_order(const std::string& order, uint64_t seed) {
  if (order == "forward") {
    settings().order = Order::forward;
  } else if (order == "reverse") {
    settings().order = Order::reverse;
  } else if (order == "random") {
    settings().order = Order::random;
  } else {
    throw py::value_error("an order is forward, reverse or random");
  }
  settings().seed = seed;
}

void set_architecture(const std::string& name) {
  for (const Architecture& card : {kSm80, kSm89, kSm90, kSm100}) {
    if (name == card.name) {
      settings().architecture = card;
      return;
    }
  }
  throw py::value_error("no architecture " + name);
}

}  // namespace

PYBIND11_MODULE(_cudasim, m) {
  m.doc() = "tilework's CUDA kernels on a simulated device, for tests.";
  py::register_exception<Fault>(m, "Fault", PyExc_RuntimeError);
  py::class_<DeviceMemory>(m, "DeviceMemory", py::buffer_protocol())
      .def(py::init<size_t>())
      .def_buffer(&DeviceMemory::buffer);
  m.def("launch", &launch_named);
  m.def("kernels", &kernel_list);
  m.def("allocated_bytes", &allocated_bytes);
  m.def("set_order", &set_order);
  m.def("set_architecture", &set_architecture);
  m.def("set_races", [](bool on) { settings().races = on; });
  m.def("set_traffic", [](bool on) { settings().traffic = on; });
  m.def("take_traffic", [] {
    py::list rows;
    for (const LineTraffic& line : take_traffic()) {
      rows.append(py::make_tuple(line.kernel, line.line, line.kind == Region::Kind::shared,
                                 line.bytes, line.store, line.warps, line.cost, line.ideal));
    }
    return rows;
  });
#if defined(TILEWORK_CUDASIM_MONITOR)
  m.attr("monitors") = true;
#else
  m.attr("monitors") = false;
#endif
}

}  // namespace tilework::cudasim
