// Tensors made and recorded in one step: what tensor.py and tape.py do attribute by attribute, at a
// third of the price. The classes stay Python's own; here it is known where their slots lie.
#include <Python.h>
// Before Python 3.11 it does not include what it needs.
#include <structmember.h>

#include <string>

#include "bindings/array.h"

namespace tilework {
namespace {

// A class of Python's with N slots.
template <int N>
class Slotted {
 public:
  Slotted() = default;
  Slotted(py::handle type, const char* const (&names)[N]) {
    if (!PyType_Check(type.ptr())) throw py::type_error("[tensors] expected classes; got others");
    for (int i = 0; i < N; ++i) {
      const py::object slot = type.attr(names[i]);
      if (!Py_IS_TYPE(slot.ptr(), &PyMemberDescr_Type))
        throw py::type_error(std::string("[tensors] expected `") + names[i] + "` as a slot");
      offset_[i] = reinterpret_cast<PyMemberDescrObject*>(slot.ptr())->d_member->offset;
    }
    type_ = reinterpret_cast<PyTypeObject*>(Py_NewRef(type.ptr()));
  }
  PyTypeObject* type() const { return type_; }
  bool holds(PyObject* object) const { return type_ && PyObject_TypeCheck(object, type_); }
  PyObject*& at(PyObject* object, int slot) const {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + offset_[slot]);
  }
  // Into a slot that is empty yet.
  void fill(PyObject* object, int slot, PyObject* value) const {
    at(object, slot) = Py_NewRef(value);
  }
  void set(PyObject* object, int slot, PyObject* value) const {
    PyObject* before = at(object, slot);
    at(object, slot) = Py_NewRef(value);
    Py_XDECREF(before);
  }

 private:
  PyTypeObject* type_ = nullptr;
  Py_ssize_t offset_[N] = {};
};

enum TensorSlot { kArray, kStorage, kRequiresGrad, kRetain, kNode, kSeq, kGrad, kBase };
constexpr const char* kTensorSlots[] = {"_array", "_storage", "_requires_grad", "_retain",
                                        "_node",  "_seq",     "_grad",          "_base"};
enum StorageSlot { kVersion, kShared, kExposed, kFrozen, kPacked, kLayout, kMoved, kTaped };
constexpr const char* kStorageSlots[] = {"version", "shared", "exposed", "frozen",
                                         "packed",  "layout", "moved",   "taped"};

Slotted<8> g_tensor, g_storage;
PyTypeObject* g_plain_view;
PyObject *g_nothing, *g_zero, *g_natural, *g_next_time, *g_share, *g_requires_grad;

// With all slots empty.
PyObject* blank(PyTypeObject* type) { return type->tp_new(type, g_nothing, nullptr); }

PyObject* known() {
  PyErr_SetString(PyExc_RuntimeError, "[tensors] expected tensor_classes() before; got no call");
  return nullptr;
}

PyObject* new_storage(PyObject*, PyObject*) {
  if (!g_storage.type()) return known();
  PyObject* s = blank(g_storage.type());
  if (!s) return nullptr;
  g_storage.fill(s, kVersion, g_zero);
  for (const int slot : {kShared, kExposed, kFrozen}) g_storage.fill(s, slot, Py_False);
  for (const int slot : {kPacked, kLayout, kMoved, kTaped}) g_storage.fill(s, slot, Py_None);
  return s;
}

// On an array and its storage, off the tape.
PyObject* bare(PyTypeObject* type, PyObject* array, PyObject* storage) {
  PyObject* x = blank(type);
  if (!x) return nullptr;
  g_tensor.fill(x, kArray, array);
  g_tensor.fill(x, kStorage, storage);
  g_tensor.fill(x, kRetain, Py_False);
  g_tensor.fill(x, kNode, Py_None);
  g_tensor.fill(x, kSeq, g_zero);
  g_tensor.fill(x, kGrad, Py_None);
  return x;
}

PyObject* fresh(PyObject*, PyObject* array) {
  PyObject* storage = new_storage(nullptr, nullptr);
  if (!storage) return nullptr;
  PyObject* x = bare(g_tensor.type(), array, storage);
  Py_DECREF(storage);
  if (x) g_tensor.fill(x, kRequiresGrad, Py_False);
  return x;
}

bool takes(Py_ssize_t count, Py_ssize_t least, Py_ssize_t most, const char* name) {
  if (count >= least && count <= most) return true;
  PyErr_Format(PyExc_TypeError, "[%s] expected %zd to %zd arguments; got %zd", name, least, most,
               count);
  return false;
}

bool is_tensor(PyObject* x, const char* name) {
  if (g_tensor.holds(x) && g_tensor.at(x, kStorage)) return true;
  PyErr_Format(PyExc_TypeError, "[%s] expected a Tensor; got %s", name, Py_TYPE(x)->tp_name);
  return false;
}

// 1 or 0; -1 with an error. A plain view looks at its storage: that is a property of its own.
int requires_grad(PyObject* x) {
  if (Py_TYPE(x) != g_plain_view) return g_tensor.at(x, kRequiresGrad) == Py_True;
  PyObject* wants = PyObject_GetAttr(x, g_requires_grad);
  if (!wants) return -1;
  const int found = PyObject_IsTrue(wants);
  Py_DECREF(wants);
  return found;
}

// Tensor._view(x, array).
PyObject* view_of(PyObject*, PyObject* const* args, Py_ssize_t count) {
  constexpr const char* name = "view_of";
  if (!takes(count, 2, 2, name) || !is_tensor(args[0], name)) return nullptr;
  PyObject *x = args[0], *storage = g_tensor.at(x, kStorage);
  const int recorded = requires_grad(x);
  if (recorded < 0) return nullptr;
  PyObject* y = bare(recorded ? g_tensor.type() : g_plain_view, args[1], storage);
  if (!y) return nullptr;
  g_tensor.fill(y, kBase, x);
  if (recorded) g_tensor.fill(y, kRequiresGrad, Py_False);
  if (g_storage.at(storage, kLayout) == g_natural && g_storage.at(storage, kMoved) == Py_None) {
    g_storage.set(storage, kShared, Py_True);
    return y;
  }
  PyObject* done = PyObject_CallMethodOneArg(x, g_share, y);
  if (!done) Py_CLEAR(y);
  Py_XDECREF(done);
  return y;
}

// Puts y on the tape, with the node (op, inputs, saved, reads). 0, or -1 with an error.
int put(PyObject* y, PyObject* const* node) {
  PyObject* time = PyObject_CallNoArgs(g_next_time);
  PyObject* held = time ? PyTuple_Pack(4, node[0], node[1], node[2], node[3]) : nullptr;
  if (held) {
    g_tensor.set(y, kNode, held);
    g_tensor.set(y, kSeq, time);
  }
  Py_XDECREF(time);
  Py_XDECREF(held);
  if (!held) return -1;
  if (Py_TYPE(y) == g_plain_view) return PyObject_SetAttr(y, g_requires_grad, Py_True);
  g_tensor.set(y, kRequiresGrad, Py_True);
  return 0;
}

// tape.record(y, op, inputs, saved=None, reads=()).
PyObject* record(PyObject*, PyObject* const* args, Py_ssize_t count) {
  constexpr const char* name = "record";
  if (!takes(count, 3, 5, name) || !is_tensor(args[0], name)) return nullptr;
  PyObject* const node[] = {args[1], args[2], count > 3 ? args[3] : Py_None,
                            count > 4 ? args[4] : g_nothing};
  return put(args[0], node) < 0 ? nullptr : Py_NewRef(args[0]);
}

// tape.recorded(array, storage, op, inputs, saved, reads).
PyObject* recorded(PyObject*, PyObject* const* args, Py_ssize_t count) {
  constexpr const char* name = "recorded";
  if (!takes(count, 6, 6, name)) return nullptr;
  if (!g_storage.holds(args[1])) {
    PyErr_Format(PyExc_TypeError, "[%s] expected a Storage; got %s", name,
                 Py_TYPE(args[1])->tp_name);
    return nullptr;
  }
  PyObject* y = bare(g_tensor.type(), args[0], args[1]);
  if (y && put(y, args + 2) < 0) Py_CLEAR(y);
  return y;
}

template <class Function>
PyCFunction untyped(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}
PyMethodDef g_functions[] = {
    {"new_storage", new_storage, METH_NOARGS, nullptr},
    {"fresh", fresh, METH_O, nullptr},
    {"view_of", untyped(view_of), METH_FASTCALL, nullptr},
    {"record", untyped(record), METH_FASTCALL, nullptr},
    {"recorded", untyped(recorded), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

// Learns the classes; nothing else here works before.
void tensor_classes(py::handle tensor, py::handle plain_view, py::handle storage,
                    py::handle natural, py::handle next_time) {
  const Slotted<8> tensors(tensor, kTensorSlots), storages(storage, kStorageSlots);
  if (!PyType_Check(plain_view.ptr()) ||
      !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(plain_view.ptr()), tensors.type()))
    throw py::type_error("[tensors] expected a subclass of the tensors; got another");
  g_tensor = tensors;
  g_storage = storages;
  g_plain_view = reinterpret_cast<PyTypeObject*>(Py_NewRef(plain_view.ptr()));
  g_natural = Py_NewRef(natural.ptr());
  g_next_time = Py_NewRef(next_time.ptr());
}

}  // namespace

void init_tensors(py::module_& m) {
  g_nothing = PyTuple_New(0);
  g_zero = PyLong_FromLong(0);
  g_share = PyUnicode_InternFromString("_share");
  g_requires_grad = PyUnicode_InternFromString("_requires_grad");
  m.def("tensor_classes", &tensor_classes, py::arg("tensor"), py::arg("plain_view"),
        py::arg("storage"), py::arg("natural"), py::arg("next_time"));
  if (PyModule_AddFunctions(m.ptr(), g_functions) < 0) throw py::error_already_set();
}

}  // namespace tilework
