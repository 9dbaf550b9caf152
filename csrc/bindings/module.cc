// The extension module: one bind_<family>() each, and the base floor's few controls.
#include <pybind11/pybind11.h>

#include <cmath>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "bindings/array.h"

namespace tilework {

#define TW_FAMILY(name) void bind_##name(py::module_& m);
#include "families.inc"
#undef TW_FAMILY

namespace {

void bind_base(py::module_& m) {
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("thread_info", [] {
    const ThreadInfo info = thread_info();
    py::dict d;
    d["threads"] = info.threads;
    d["source"] = info.source;
    d["affinity"] = info.affinity;
    d["cores"] = info.cores;
    d["quota"] = std::isinf(info.quota) ? py::object(py::none()) : py::float_(info.quota);
    return d;
  });
  m.def("set_isa", &set_isa, py::arg("name"));
  m.def("active_isa", [] { return isa_name(active_isa()); });
  m.def("cpu_info", [] {
    const CpuInfo& info = cpu_info();
    py::dict d;
    d["model"] = info.model;
    d["best_isa"] = isa_name(info.best);
    d["amx_refusal"] = info.amx_refusal;
    d["l1d_bytes"] = info.l1d_bytes;
    d["l2_bytes"] = info.l2_bytes;
    d["l3_bytes"] = info.l3_bytes;
    return d;
  });
  m.def("pool_stats", [] {
    const PoolStats s = pool_stats();
    py::dict d;
    d["in_use_bytes"] = s.in_use_bytes;
    d["cached_bytes"] = s.cached_bytes;
    d["peak_in_use_bytes"] = s.peak_in_use_bytes;
    d["limit_bytes"] = s.limit_bytes;
    d["allocations"] = s.allocations;
    d["cache_hits"] = s.cache_hits;
    return d;
  });
  m.def("pool_trim", &pool_trim);
  m.def("pool_set_limit", &pool_set_limit, py::arg("bytes"));
}

}  // namespace

// Behind PyInit__native, below.
PYBIND11_MODULE(_native_of_main, m) {
  m.doc() = "tilework's compiled engine: NumPy arrays in, NumPy arrays out.";
  m.attr("__version__") = TILEWORK_VERSION;
  init_arrays(m);
  init_tensors(m);
  bind_base(m);
#define TW_FAMILY(name) bind_##name(m);
#include "families.inc"
#undef TW_FAMILY
}

}  // namespace tilework

// One set of threads, settings and NumPy's table serves the process, as NumPy itself serves one
// interpreter alone. pybind11 is not even asked: first imported in a sub-interpreter it waits for
// ever for a lock that the thread itself holds.
extern "C" PYBIND11_EXPORT PyObject* PyInit__native() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main())
    return tilework::PyInit__native_of_main();
  PyErr_SetString(
      PyExc_ImportError,
      "[tilework] expected the main interpreter; got a sub-interpreter: import tilework "
      "in the main one, and share the work by threads or processes");
  return nullptr;
}
