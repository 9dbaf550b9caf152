"""Models as ONNX files, for whatever runs those: onnxruntime, a phone, a browser."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tilework.autograd import no_grad
from tilework.errors import error
from tilework.io.files import replacing
from tilework.io.onnx import elementwise, layers, logic, numbers, picks, recurrent, shapes
from tilework.io.onnx.graph import Graph, Handler, MissingError
from tilework.nested import tensors_in
from tilework.nn import Module
from tilework.nn.modes import evaluating
from tilework.recorder import Call, Recorder
from tilework.tensor import Tensor

__all__ = ["export"]

OPSET = 18  # what is written is none newer's

_HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS, **layers.HANDLERS, **logic.HANDLERS, **numbers.HANDLERS,
    **picks.HANDLERS, **recurrent.HANDLERS, **shapes.HANDLERS,
}  # fmt: skip


def export(
    model: Module,
    example: Tensor | Sequence[Any],
    path: str | os.PathLike[str] | None = None,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> Any:
    """Runs `model` once on `example`, an input or a tuple of them, and writes what it computed.

    The model is called in evaluation mode, and left as it was. Gives an onnx.ModelProto of opset
    18, checked; with `path` it is written there too. Weights have their state_dict names; inputs
    are "input", or "input_0" and on, outputs likewise, unless named. What no input is in is kept as
    its value. Sizes are the example's, but for a first axis that `dynamic_axes` names:
    {"input": {0: "batch"}}, which may then be of any size. `pip install 'tilework[onnx]'`.

    Errors: ImportError without onnx; NotImplementedError on an op that has no form there, by its
    name; TypeError where an input is no tensor; ValueError on names of another number, and on a
    dynamic axis that is not the first.

    >>> from tilework.io import onnx
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    >>> proto = onnx.export(model, tw.ones(2, 3), dynamic_axes={"input": {0: "batch"}})
    >>> [node.op_type for node in proto.graph.node]
    ['Gemm', 'Relu']
    """
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(x, Tensor) for x in inputs):
        raise error(
            TypeError, "onnx.export", "a tensor, or a tuple of tensors",
            ", ".join(type(x).__name__ for x in inputs) or "none", "give an example of the inputs",
        )  # fmt: skip
    graph = Graph(model, inputs, _named("input", input_names, len(inputs)), dynamic_axes or {})
    with evaluating(model), no_grad(), Recorder() as recorder:
        outputs = model(*inputs)
    for call in recorder.calls:
        _emit(graph, call)
    results = list(tensors_in(outputs))
    proto = graph.finish(results, _named("output", output_names, len(results)), OPSET)
    if path is not None:
        with replacing(path, "onnx.export") as file:
            file.write(proto.SerializeToString())
    return proto


def _named(kind: str, given: Sequence[str] | None, count: int) -> list[str]:
    if given is None:
        return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]
    if len(given) != count:
        raise error(
            ValueError, "onnx.export", f"{count} {kind}_names", len(given), "name each of them"
        )
    return list(given)


def _emit(graph: Graph, call: Call) -> None:
    """One op, or where it has no form of its own but is made of others, those."""
    results = list(tensors_in(call.result))
    given = list(tensors_in(call.arguments))
    spread = call.name in shapes.SPREADS and graph.gains_batch(given[0].shape, results[0].shape)
    if all(graph.is_constant(x) for x in given) and not spread:
        graph.note_constants(results)
        if _writes(call):
            graph.note_constant_write(given[0], call.name)
        return
    handler, missing = _handler(call.name), call.name
    try:
        names = None if handler is None else handler(graph, _named_input(call), results)
    except MissingError as found:
        names, missing = None, str(found)
    if names is not None:
        graph.bind(results, [names] if isinstance(names, str) else names)
        if _writes(call):
            graph.note_write(given[0], call.name, results)
        return
    inner = [part for part in call.inner if part.kind == "op"]
    for part in inner:
        _emit(graph, part)
    if _writes(call) and not any(map(_writes, inner)):
        graph.note_write(given[0], call.name, ())
    graph.note_missing(results, missing)


def _handler(name: str) -> Handler | None:
    """The op's; of one that writes in place, that of the op whose result it writes."""
    found = _HANDLERS.get(name)
    if found is not None or not _IN_PLACE.fullmatch(name):
        return found
    return _HANDLERS.get("__" + name[3:] if name.startswith("__") else name[:-1])


def _named_input(call: Call) -> dict[str, Any]:
    """The arguments, by a function's names where a method has others."""
    given = call.arguments
    if "self" not in given or "input" in given:
        return given
    if isinstance(given.get("args"), tuple) and "function" in given:  # what it writes in place
        signature = inspect.signature(given["function"])
        bound = signature.bind(given["self"], *given["args"], **given["options"])
        bound.apply_defaults()
        return bound.arguments
    return {**given, "input": given["self"]}


_IN_PLACE = re.compile(r"__setitem__|__i(?!nvert)\w+__|[a-z]\w*_")


def _writes(call: Call) -> bool:
    """Whether an op writes to its first tensor."""
    return bool(call.arguments.get("inplace") or _IN_PLACE.fullmatch(call.name))
