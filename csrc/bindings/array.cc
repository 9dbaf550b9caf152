#define TILEWORK_IMPORT_ARRAY
#include "bindings/array.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "base/memory_pool.h"
#include "bindings/checks.h"
#include "kernels/copy/copy.h"

namespace tilework {
namespace {

// --- The NEP 49 handler: NumPy frees a pool block through the array's own mem_handler field ---

// NumPy calls these from C, which an exception must not cross: null is its MemoryError.
void* handler_malloc(void*, std::size_t bytes) noexcept {
  try {
    return pool_allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* handler_calloc(void*, std::size_t count, std::size_t size) noexcept {
  std::size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return nullptr;
  void* block = handler_malloc(nullptr, bytes);
  return block ? std::memset(block, 0, bytes) : nullptr;
}
// ndarray.resize(), in place, gets a MemoryError: NumPy does not say how large the old block is.
void* handler_realloc(void*, void*, std::size_t) noexcept { return nullptr; }
void handler_free(void*, void* block, std::size_t bytes) noexcept { pool_release(block, bytes); }

PyDataMem_Handler g_handler = {
    "tilework_pool", 1, {nullptr, handler_malloc, handler_calloc, handler_realloc, handler_free}};
PyObject* g_handler_capsule;
PyArray_Descr* g_descr[static_cast<int>(DType::other)];

constexpr const char* kActivationNames[] = {"none", "relu", "gelu",   "gelu_tanh",
                                            "silu", "tanh", "sigmoid"};
PyObject* g_activation_names[std::size(kActivationNames)];

// Written at each call: the model spares that a function's call.
thread_local const char* t_op __attribute__((tls_model("initial-exec"))) = "tilework";

void raise_out_of_memory(const std::string& asked) {
  PyErr_Format(PyExc_MemoryError,
               "[%s] expected memory for its result and its workspace; got none for %s: take "
               "smaller sizes or a smaller batch, or free tensors that are no longer used",
               t_op, asked.c_str());
}

// What fails to be allocated becomes a MemoryError that says for whom and how much.
void translate_errors(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const WrongType& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const OutOfMemory& e) {
    raise_out_of_memory(std::to_string(e.bytes) + " bytes");
  } catch (const std::bad_alloc&) {
    raise_out_of_memory("more bytes than can be counted");
  }
}

DType dtype_of(PyArrayObject* a) {
  switch (PyArray_TYPE(a)) {
    case NPY_FLOAT32:
      return DType::float32;
    case NPY_FLOAT64:
      return DType::float64;
    case NPY_INT64:
      return DType::int64;
    case NPY_INT32:
      return DType::int32;
    case NPY_UINT8:
      return DType::uint8;
    case NPY_UINT32:
      return DType::uint32;
    case NPY_BOOL:
      return DType::boolean;
    default:
      break;
  }
  if (PyArray_DESCR(a) == g_descr[static_cast<int>(DType::bfloat16)]) return DType::bfloat16;
  return DType::other;
}

// The bytes of such an array. Strides count an axis without elements as one: they must not overflow
// either.
npy_intp bytes_of(DType dtype, int ndim, const npy_intp* shape) {
  if (dtype == DType::other)
    throw py::type_error("[array] expected a dtype that tilework has; got another: convert it");
  npy_intp strided = PyDataType_ELSIZE(g_descr[static_cast<int>(dtype)]);
  bool empty = false;
  for (int i = 0; i < ndim; ++i) {
    if (__builtin_mul_overflow(strided, std::max<npy_intp>(shape[i], 1), &strided))
      throw std::bad_alloc();
    empty |= shape[i] == 0;
  }
  return empty ? 0 : strided;
}

py::object wrap_block(DType dtype, int ndim, const npy_intp* shape, const npy_intp* strides) {
  const npy_intp bytes = bytes_of(dtype, ndim, shape);  // which refuses a dtype without a descr
  PyArray_Descr* descr = g_descr[static_cast<int>(dtype)];
  // NumPy gives back one byte, or one element, for an array without elements: the same size class.
  const auto block_bytes = static_cast<std::size_t>(std::max<npy_intp>(bytes, 1));
  void* block = pool_allocate(block_bytes);
  Py_INCREF(descr);
  PyObject* array = PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, strides, block,
                                         NPY_ARRAY_ALIGNED | NPY_ARRAY_WRITEABLE, nullptr);
  if (!array) {
    pool_release(block, block_bytes);
    throw py::error_already_set();
  }
  auto* fields = reinterpret_cast<PyArrayObject_fields*>(array);
  fields->flags |= NPY_ARRAY_OWNDATA;
  Py_INCREF(g_handler_capsule);
  fields->mem_handler = g_handler_capsule;
  return py::reinterpret_steal<py::object>(array);
}

}  // namespace

void name_op(const char* op) { t_op = op; }

ArrayView view(py::handle array, const char* op, const char* argument) {
  if (op) t_op = op;
  PyObject* o = array.ptr();
  if (!o || !PyArray_Check(o))
    throw py::type_error(std::string("[") + op + "] expected `" + argument +
                         "` as a numpy.ndarray; got " + (o ? Py_TYPE(o)->tp_name : "nothing"));
  auto* a = reinterpret_cast<PyArrayObject*>(o);
  if (!PyArray_ISALIGNED(a) || !PyArray_ISNOTSWAPPED(a))
    throw py::type_error(std::string("[") + op + "] expected `" + argument +
                         "` aligned and in this machine's byte order; make it so with "
                         "numpy.ascontiguousarray(x, dtype=x.dtype.newbyteorder('='))");
  const DType dtype = dtype_of(a);
  const int itemsize =
      dtype != DType::other ? itemsize_of(dtype) : static_cast<int>(PyArray_ITEMSIZE(a));
  return {a,     PyArray_BYTES(a), PyArray_DIMS(a), PyArray_STRIDES(a), PyArray_NDIM(a),
          dtype, itemsize,         PyArray_FLAGS(a)};
}

ArrayView view_float(py::handle array, const char* op, const char* argument) {
  ArrayView v = view(array, op, argument);
  if (v.dtype != DType::float32 && v.dtype != DType::float64)
    throw py::type_error(
        std::string("[") + op + "] expected `" + argument + "` of dtype float32 or float64; got " +
        py::str(py::handle(reinterpret_cast<PyObject*>(PyArray_DESCR(ndarray_of(v)))))
            .cast<std::string>() +
        ": convert it with x.float()");
  return v;
}

py::object new_array(DType dtype, int ndim, const npy_intp* shape) {
  return wrap_block(dtype, ndim, shape, nullptr);
}

py::object new_array_like(const ArrayView& x, DType dtype) {
  int order[kMaxDims], count;
  if (x.c_contiguous() || x.ndim > kMaxDims || !memory_order(x, order, count))
    return new_array(dtype, x.ndim, x.shape);
  npy_intp strides[kMaxDims];
  npy_intp step = PyDataType_ELSIZE(g_descr[static_cast<int>(dtype)]);
  for (int i = 0; i < x.ndim; ++i) strides[i] = step;  // size-1 axes: any stride serves
  for (int i = count; i-- > 0;) {
    strides[order[i]] = step;
    step *= x.shape[order[i]];
  }
  return wrap_block(dtype, x.ndim, x.shape, strides);
}

py::object new_channels_last(DType dtype, const npy_intp* shape) {
  bytes_of(dtype, 4, shape);  // throws where what follows would overflow
  npy_intp strides[4], step = PyDataType_ELSIZE(g_descr[static_cast<int>(dtype)]);
  for (const int axis : {1, 3, 2, 0}) {
    strides[axis] = step;
    step *= std::max<npy_intp>(shape[axis], 1);
  }
  return wrap_block(dtype, 4, shape, strides);
}

void copy_into(const ArrayView& to, const ArrayView& from) {
  if (from.dtype == DType::other || from.dtype != to.dtype || !same_shape(from, to) ||
      from.ndim > CopyShape::kMaxAxes) {
    const int status =
        stopping_at_exit([&] { return PyArray_CopyInto(ndarray_of(to), ndarray_of(from)); });
    if (status < 0) throw py::error_already_set();
    return;
  }
  CopyShape shape;
  shape.axes = from.ndim;
  std::copy_n(from.shape, from.ndim, shape.size);
  std::copy_n(to.strides, from.ndim, shape.to_stride);
  std::copy_n(from.strides, from.ndim, shape.from_stride);
  const int64_t itemsize = from.itemsize();
  GilRelease unlocked(copy_cost_ns(from.size() * itemsize));
  strided_copy(static_cast<std::size_t>(itemsize), shape, from.data, to.data);
}

py::object new_zeros(DType dtype, int ndim, const npy_intp* shape) {
  py::object zeros = new_array(dtype, ndim, shape);
  const ArrayView v = view_own(zeros);
  std::memset(v.data, 0, static_cast<size_t>(v.size() * v.itemsize()));
  return zeros;
}

py::object as_contiguous(const ArrayView& x) {
  if (x.c_contiguous()) return borrowed(x);
  py::object copy = new_array(x.dtype, x.ndim, x.shape);
  copy_into(view_own(copy), x);
  return copy;
}

py::object as_layout_of(const ArrayView& x, const ArrayView& model) {
  if (same_layout(x, model)) return borrowed(x);
  py::object copy = new_array_like(model, x.dtype);
  copy_into(view_own(copy), x);
  return copy;
}

Activation activation_from(py::handle name, const char* op) {
  for (std::size_t i = 0; i < std::size(kActivationNames); ++i)
    if (name.ptr() == g_activation_names[i]) return static_cast<Activation>(i);
  if (PyUnicode_Check(name.ptr()))
    for (std::size_t i = 0; i < std::size(kActivationNames); ++i)
      if (PyUnicode_Compare(name.ptr(), g_activation_names[i]) == 0)
        return static_cast<Activation>(i);
  std::string known;
  for (const char* n : kActivationNames) known += (known.empty() ? "" : ", ") + std::string(n);
  throw py::value_error(std::string("[") + op + "] expected activation as one of " + known +
                        "; got " + py::repr(name).cast<std::string>());
}

void init_arrays(py::module_&) {
  if (_import_array() < 0) throw py::error_already_set();
  g_handler_capsule = PyCapsule_New(&g_handler, "mem_handler", nullptr);
  py::register_local_exception_translator(translate_errors);
  const int types[] = {NPY_FLOAT32, NPY_FLOAT64, -1,         NPY_INT64,
                       NPY_INT32,   NPY_UINT8,   NPY_UINT32, NPY_BOOL};
  for (std::size_t i = 0; i < std::size(types); ++i)
    if (types[i] >= 0) g_descr[i] = PyArray_DescrFromType(types[i]);
  // ml_dtypes registers bfloat16 with NumPy when it is imported; its descriptor is a singleton.
  py::object bfloat16 =
      py::module_::import("numpy").attr("dtype")(py::module_::import("ml_dtypes").attr("bfloat16"));
  g_descr[static_cast<int>(DType::bfloat16)] =
      reinterpret_cast<PyArray_Descr*>(bfloat16.release().ptr());
  for (std::size_t i = 0; i < std::size(kActivationNames); ++i)
    g_activation_names[i] = PyUnicode_InternFromString(kActivationNames[i]);
}

}  // namespace tilework
