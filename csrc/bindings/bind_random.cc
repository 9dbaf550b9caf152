// Random tensors: kernels/random/random.h says which number stands where.
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/array.h"
#include "kernels/random/random.h"

namespace tilework {
namespace {

using Shape = std::vector<npy_intp>;

DType float_dtype(const std::string& name, const char* op) {
  for (DType dtype : {DType::float32, DType::float64})
    if (name == dtype_name(dtype)) return dtype;
  throw py::value_error(std::string("[") + op + "] expected dtype 'float32' or 'float64'; got '" +
                        name + "'");
}

// A fresh array of `shape`, filled by fill(array).
template <class Fill>
py::object filled(const Shape& shape, DType dtype, double ns_each, const char* op, Fill fill) {
  name_op(op);
  if (std::any_of(shape.begin(), shape.end(), [](npy_intp n) { return n < 0; }))
    throw py::value_error(std::string("[") + op +
                          "] expected a shape of sizes of at least 0; got " +
                          py::str(py::cast(shape)).cast<std::string>());
  if (shape.size() > kMaxDims)
    throw py::value_error(std::string("[") + op + "] expected a shape of at most 32 axes; got " +
                          std::to_string(shape.size()) + ": take fewer");
  py::object result = new_array(dtype, static_cast<int>(shape.size()), shape.data());
  const ArrayView out = view_own(result);
  const GilRelease unlocked(ns_each * static_cast<double>(out.size()));
  fill(out);
  return result;
}

py::object bits(const Shape& shape, uint64_t seed, uint64_t call) {
  return filled(shape, DType::uint32, kRandomBitsNs, "random_bits", [&](const ArrayView& out) {
    random_bits(out.as<uint32_t>(), out.size(), seed, call);
  });
}

py::object uniform(const Shape& shape, const std::string& dtype, uint64_t seed, uint64_t call) {
  const DType type = float_dtype(dtype, "uniform");
  return filled(shape, type, kRandomBitsNs, "uniform", [&](const ArrayView& out) {
    if (type == DType::float32)
      random_uniform(out.as<float>(), out.size(), seed, call);
    else
      random_uniform(out.as<double>(), out.size(), seed, call);
  });
}

py::object normal(const Shape& shape, const std::string& dtype, uint64_t seed, uint64_t call) {
  const DType type = float_dtype(dtype, "normal");
  return filled(shape, type, kRandomNormalNs, "normal", [&](const ArrayView& out) {
    if (type == DType::float32)
      random_normal(out.as<float>(), out.size(), seed, call);
    else
      random_normal(out.as<double>(), out.size(), seed, call);
  });
}

}  // namespace

void bind_random(py::module_& m) {
  m.def("random_bits", &bits, py::arg("shape"), py::arg("seed"), py::arg("call"));
  m.def("uniform", &uniform, py::arg("shape"), py::arg("dtype"), py::arg("seed"), py::arg("call"));
  m.def("normal", &normal, py::arg("shape"), py::arg("dtype"), py::arg("seed"), py::arg("call"));
}

}  // namespace tilework
