"""An ONNX graph as it is built: which tensor is which value, the weights, the nodes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilework._version import __version__
from tilework.errors import error
from tilework.nn import Module
from tilework.tensor import Tensor

Arguments = dict[str, Any]
# From a graph, an op's arguments and its results to the results' names; None where it has no form.
Handler = Callable[["Graph", Arguments, list[Tensor]], "str | Sequence[str] | None"]


class MissingError(Exception):
    """A value that an op without a form left; its text is the op's name."""


class Graph:
    """What a model computed, node by node."""

    def __init__(
        self,
        model: Module,
        inputs: Sequence[Tensor],
        input_names: Sequence[str],
        dynamic_axes: Mapping[str, Mapping[int, str]],
    ) -> None:
        try:
            import onnx
        except ImportError:
            raise error(
                ImportError, "onnx.export", "onnx", "none installed", "pip install 'tilework[onnx]'"
            ) from None
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        named = (*model.named_parameters(), *model.named_buffers())
        self._weights = {id(x): name for name, x in named}
        self._axes = _checked(dynamic_axes)
        self.batch = inputs[0].shape[0] if self._axes and inputs[0].ndim else None
        self._names: dict[int, str] = {}
        self._missing: dict[int, str] = {}
        self._read: set[int] = set()  # storages of the constants that nodes take
        self._spoilt = ""  # an op that wrote to one of those
        # Tensors that were there before, whatever holds them, are the model's own. An id is a
        # tensor's as long as it lives: all are kept.
        self._before = [x for x in gc.get_objects() if issubclass(type(x), Tensor)]
        self._kept: list[Any] = [model]
        self._constants = {*self._weights, *map(id, self._before)} - set(map(id, inputs))
        self._inputs = [self._info(n, x) for n, x in zip(input_names, inputs, strict=True)]
        self._first_input = input_names[0]
        self.bind(inputs, input_names)

    # --- values ---

    def bind(self, results: Sequence[Tensor], names: Sequence[str]) -> None:
        for x, name in zip(results, names, strict=True):
            self._kept.append(x)
            self._names[id(x)] = name

    def is_constant(self, x: Tensor) -> bool:
        """Whether it was there before, or is made of such: no input is in it."""
        return id(x) in self._constants

    def gains_batch(self, before: Sequence[int], after: Sequence[int]) -> bool:
        """Whether a constant is spread over the batch, and so is none where that has any size."""
        return self.batch not in (None, *before[:1]) and after[:1] == (self.batch,)

    def note_constants(self, results: Sequence[Tensor]) -> None:
        self._kept.extend(results)
        self._constants.update(id(x) for x in results)

    def note_missing(self, results: Sequence[Tensor], name: str) -> None:
        """Results that an op without a form left: an error where an output is made of one."""
        for x in results:
            if id(x) not in self._names:
                self._kept.append(x)
                self._missing[id(x)] = name

    def note_write(self, written: Tensor, name: str, kept: Sequence[Tensor]) -> None:
        """Whatever shows the memory of `written`, but what is `kept`, is no value known here."""
        self.note_constant_write(written, name)
        mine = {id(x) for x in kept}
        for x in (*self._before, *self._kept):
            here = isinstance(x, Tensor) and x._storage is written._storage
            if here and id(x) not in mine:
                self._names.pop(id(x), None)
                self._constants.discard(id(x))
                self._missing[id(x)] = name

    def note_constant_write(self, written: Tensor, name: str) -> None:
        """A constant's value is read when all has run: who took it before the write is wrong."""
        if id(written._storage) in self._read:
            self._spoilt = name

    def __call__(self, x: Any, like: Tensor | None = None) -> str:
        """A value's name: a tensor's, or a number's, in the dtype of `like`."""
        if not isinstance(x, Tensor):
            return self.constant(np.asarray(x, dtype=None if like is None else like.dtype))
        if id(x) in self._names:
            return self._names[id(x)]
        if id(x) not in self._constants:
            raise MissingError(self._missing.get(id(x), "a tensor made by none of our ops"))
        self._read.add(id(x._storage))
        return self.constant(x.detach().numpy(), self._weights.get(id(x)))

    def constant(self, array: Any, name: str | None = None) -> str:
        """An initializer; without a name of its own, one for each value."""
        array = np.asarray(array, order="C")
        if name is None:
            name = f"constant_{array.dtype}_{'x'.join(map(str, array.shape))}_{_digest(array)}"
        if name not in self._initializers:
            self._initializers[name] = self._tensor(name, array)
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def _tensor(self, name: str, array: Any) -> Any:
        kind = self._kind(array.dtype)
        shape = array.shape
        return self._onnx.helper.make_tensor(name, kind, shape, array.tobytes(), raw=True)

    def _kind(self, dtype: Any) -> int:
        if dtype.name == "bfloat16":
            return int(self._onnx.TensorProto.BFLOAT16)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _info(self, name: str, x: Tensor) -> Any:
        axes = self._axes.get(name, {})
        shape = [axes.get(i, n) for i, n in enumerate(x.shape)]
        return self._onnx.helper.make_tensor_value_info(name, self._kind(x.dtype), shape)

    # --- nodes ---

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output, and that output's name."""
        return self.nodes(op, 1, *inputs, **attributes)[0]

    def nodes(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        stem = f"{op.lower()}_{len(self._nodes)}"
        names = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        made = self._onnx.helper.make_node(op, list(inputs), names, name=stem, **attributes)
        self._nodes.append(made)
        return names

    def of(self, x: Tensor, dtype: Any) -> str:
        """A tensor's value in a dtype."""
        return self(x) if x.dtype == dtype else self.cast(self(x), dtype)

    def cast(self, name: str, dtype: Any) -> str:
        return self.node("Cast", name, to=self._kind(np.dtype(dtype)))

    def value(self, x: Any, dtype: Any) -> str:
        """A tensor's or a number's value in a dtype."""
        return self.of(x, dtype) if isinstance(x, Tensor) else self.constant(np.asarray(x, dtype))

    def reshape(self, name: str, before: Sequence[int], after: Sequence[int]) -> str:
        """To a shape in which a batch of any size stays one."""
        target = list(after)
        if self.batch is not None and target and before:
            first = next((i for i, n in enumerate(target) if n != 1), 0)
            if before[0] == target[0]:
                target[0] = 0  # as it is
            elif before[0] % self.batch == 0 and target[first] % self.batch == 0:
                target[first] = -1
        return self.node("Reshape", name, self.integers(*target))

    def sizes(self, shape: Sequence[int]) -> str:
        """A shape as a value; a first axis of the batch's size is read off the input."""
        if self.batch is None or not shape or shape[0] != self.batch:
            return self.integers(*shape)
        whole = self.node("Shape", self._first_input)
        first = self.node("Gather", whole, self.integers(0))
        return self.node("Concat", first, self.integers(*shape[1:]), axis=0)

    # --- the whole ---

    def finish(self, results: Sequence[Tensor], names: Sequence[str], opset: int) -> Any:
        try:
            if self._spoilt:
                raise MissingError(self._spoilt)
            ends = [
                self._onnx.helper.make_node("Identity", [self(x)], [n], name=f"as_{n}")
                for x, n in zip(results, names, strict=True)
            ]
        except MissingError as missing:
            raise error(
                NotImplementedError, "onnx.export", "ops that have a form in ONNX", missing,
                "compute it otherwise, or export the parts before and after",
            ) from None  # fmt: skip
        nodes = self._renamed(_needed(self._nodes, ends), ends)
        used = {name for node in nodes for name in node.input}
        batch = next(iter(next(iter(self._axes.values()), {}).values()), None)
        if batch is not None:
            for x, name in zip(results, names, strict=True):
                if x.ndim and x.shape[0] == self.batch:
                    self._axes.setdefault(name, {0: batch})
        graph = self._onnx.helper.make_graph(
            nodes,
            "tilework",
            self._inputs,
            [self._info(n, x) for n, x in zip(names, results, strict=True)],
            [tensor for name, tensor in self._initializers.items() if name in used],
        )
        proto = self._onnx.helper.make_model(
            graph,
            producer_name="tilework",
            producer_version=__version__,
            opset_imports=[self._onnx.helper.make_opsetid("", opset)],
            ir_version=8,
        )
        self._onnx.checker.check_model(proto)
        return proto

    def _renamed(self, nodes: list[Any], ends: list[Any]) -> list[Any]:
        """Outputs named where they are made, and no Identity for it where that can be."""
        makers = {name: node for node in nodes for name in node.output}
        taken: set[str] = set()
        for end in ends:
            source, name = end.input[0], end.output[0]
            if source not in makers or source in taken:
                nodes.append(end)
                continue
            taken.update((source, name))
            for node in nodes:
                for field in (node.input, node.output):
                    for i, known in enumerate(field):
                        if known == source:
                            field[i] = name
            for other in ends:
                if other is not end and other.input[0] == source:
                    other.input[0] = name
            makers[name] = makers.pop(source)
        return nodes


def _needed(nodes: list[Any], ends: list[Any]) -> list[Any]:
    wanted = {name for node in ends for name in node.input}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _digest(array: Any) -> str:
    import hashlib

    return hashlib.sha1(array.tobytes(), usedforsecurity=False).hexdigest()[:12]


def _checked(axes: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    for name, of in axes.items():
        if set(of) - {0}:
            raise error(
                ValueError, "onnx.export", "dynamic_axes of first axes: {name: {0: 'batch'}}",
                f"{name}: {dict(of)}", "export once for each size of the others",
            )  # fmt: skip
    return {name: dict(of) for name, of in axes.items()}
