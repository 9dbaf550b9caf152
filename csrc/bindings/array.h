// NumPy's part: arrays become views (base/array_view.h), field by field, and are made around blocks
// of the pool.
//
// `py::array_t` in a signature costs ten times a kernel's own dispatch, so bindings take py::handle
// and call view(). Outputs come from new_array(): an ordinary ndarray that owns a pool block
// through one NEP 49 handler, attached to that array alone.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#ifndef TILEWORK_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#define PY_ARRAY_UNIQUE_SYMBOL tilework_ARRAY_API
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
// The oldest NumPy that pyproject.toml allows. The headers of NumPy 2.2, the last for Python 3.10,
// else speak to a NumPy so old that its arrays have no mem_handler.
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION
#include <numpy/arrayobject.h>

#include <type_traits>

#include "base/array_view.h"

namespace tilework {

namespace py = pybind11;

static_assert(std::is_same_v<npy_intp, intptr_t> && kCContiguous == NPY_ARRAY_C_CONTIGUOUS &&
              kWriteable == NPY_ARRAY_WRITEABLE);

// The ndarray that a view was made of.
inline PyArrayObject* ndarray_of(const ArrayView& a) {
  return static_cast<PyArrayObject*>(a.object);
}
// The same, held.
inline py::object borrowed(const ArrayView& a) {
  return py::reinterpret_borrow<py::object>(static_cast<PyObject*>(a.object));
}

// Any aligned, native-endian ndarray (else TypeError, naming `op` and `argument`). A null `op` is
// for an array of our own.
ArrayView view(py::handle array, const char* op, const char* argument);
// The same, of float32 or float64 only.
ArrayView view_float(py::handle array, const char* op, const char* argument);

// Fresh arrays out of the pool, uninitialised. C order; or, with like, x's shape and dense layout
// (C order where x is not dense).
py::object new_array(DType dtype, int ndim, const npy_intp* shape);
py::object new_array_like(const ArrayView& x, DType dtype);
inline py::object new_array_like(const ArrayView& x) { return new_array_like(x, x.dtype); }
// In C order, of zeros.
py::object new_zeros(DType dtype, int ndim, const npy_intp* shape);
// Of shape (N, C, H, W), lying in memory as (N, H, W, C).
py::object new_channels_last(DType dtype, const npy_intp* shape);

// `x` itself where it is dense in C order, else a packed copy (held by the returned object).
py::object as_contiguous(const ArrayView& x);
// `x` itself where its layout is already that of `model` (same shape), else a copy that has it.
py::object as_layout_of(const ArrayView& x, const ArrayView& model);

// The op that the calling thread serves, for an error that is thrown where no name is at hand. A
// view of an argument names it; a binding without arrays does so itself.
void name_op(const char* op);

inline ArrayView view_own(const py::object& array) { return view(array, nullptr, nullptr); }
// Of an array of T's, or None's: null.
template <class T>
T* data_of(const py::object& array) {
  return array.is_none()
             ? nullptr
             : static_cast<T*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(array.ptr())));
}

// "relu" -> Activation::relu; ValueError on an unknown name.
Activation activation_from(py::handle name, const char* op);

// Calls what may wait for the GIL. Where the interpreter has ended meanwhile, Python up to 3.13
// ends the thread there (pthread_exit): that would run destructors that touch Python without its
// lock, and abort at the first noexcept one. Such a thread stops here instead, as in Python 3.14,
// and is gone with the process.
template <class F>
auto stopping_at_exit(F&& call) {
  try {
    return call();
  } catch (const abi::__forced_unwind&) {
    for (;;) pause();
  }
}

// from's elements into `to`, of the same shape, converted; throws Python's error.
void copy_into(const ArrayView& to, const ArrayView& from);

// Releases the GIL for work that is worth it: 30 ns are more than a tiny kernel takes.
class GilRelease {
 public:
  explicit GilRelease(double cost_ns) : state_(cost_ns > 5000 ? PyEval_SaveThread() : nullptr) {}
  ~GilRelease() {
    if (state_) stopping_at_exit([&] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

void init_arrays(py::module_& m);
void init_tensors(py::module_& m);

}  // namespace tilework
