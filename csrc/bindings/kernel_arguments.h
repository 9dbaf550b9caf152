// A launch as Python asks for it: what _cuda and _cudasim have in common.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/kernel_table.h"

namespace tilework {

namespace py = pybind11;

using Three = std::array<uint32_t, 3>;

inline const KernelEntry& kernel_named(const std::string& name) {
  static const auto table = [] {
    std::unordered_map<std::string, const KernelEntry*> found;
    for (const KernelEntry* e = KernelEntry::first(); e != nullptr; e = e->next) found[e->name] = e;
    return found;
  }();
  const auto at = table.find(name);
  if (at == table.end()) throw py::key_error("no kernel " + name + " in this module");
  return *at->second;
}

// One slot an argument: an address (of a pointer; None is null), an int or a float. TypeError where
// they are not what the kernel takes.
inline std::vector<uint64_t> slots_of(const KernelEntry& kernel, const py::tuple& arguments) {
  const auto refuse = [&](const std::string& what) {
    throw py::type_error("[" + std::string(kernel.name) + "] " + what + " (" + kernel.kinds + ")");
  };
  if (arguments.size() != kernel.kinds.size()) {
    refuse("expected " + std::to_string(kernel.kinds.size()) + " arguments, got " +
           std::to_string(arguments.size()));
  }
  std::vector<uint64_t> slots(arguments.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const py::handle given = arguments[i];
    const char kind = kernel.kinds[i];
    if (kind == 'd') {
      if (!PyFloat_Check(given.ptr())) refuse("expected a float at " + std::to_string(i));
      const double value = PyFloat_AS_DOUBLE(given.ptr());
      std::memcpy(&slots[i], &value, sizeof value);
    } else if (kind == 'p' && given.is_none()) {
      slots[i] = 0;
    } else {
      if (!PyLong_Check(given.ptr())) refuse("expected an int at " + std::to_string(i));
      slots[i] = static_cast<uint64_t>(PyLong_AsUnsignedLongLongMask(given.ptr()));
      if (PyErr_Occurred()) throw py::error_already_set();
    }
  }
  return slots;
}

// {name: (kinds, most threads of a block, file)}
inline py::dict kernel_list() {
  py::dict found;
  for (const KernelEntry* e = KernelEntry::first(); e != nullptr; e = e->next) {
    found[e->name] = py::make_tuple(e->kinds, e->threads, e->file);
  }
  return found;
}

}  // namespace tilework
