"""summary: what a network is made of, and what one call of it costs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tilework import dtypes, functional
from tilework.autograd import no_grad
from tilework.errors import error
from tilework.nested import tensors_in
from tilework.nn.modes import evaluating
from tilework.nn.module import Module
from tilework.nn.recurrent import RNNBase, RNNCellBase
from tilework.tensor import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerSummary:
    """One call of a layer: a module without children, or one with parameters of its own.

    Attributes:
        name: Its dotted name; "" for the model itself.
        kind: The name of its class.
        output_shape: The shape of what it gave, or of the first tensor in it.
        parameters: Those that it holds itself; 0 at a second call, as they were counted.
        multiply_adds: Of its products: as many as an output element takes, times their number.
        activation_bytes: Of its output: what lies in memory until the backward pass.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The layers of a model in the order of their calls, and their sums; prints as a table."""

    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable_parameters: int

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Of all layers' outputs."""
        return sum(layer.activation_bytes for layer in self.layers)

    def __str__(self) -> str:
        return _table(self)

    __repr__ = __str__


def summary(
    model: Module,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor] | Tensor,
    dtype: Any = None,
) -> Summary:
    """Runs the model once on zeros of `input_shape`, batch axis and all, and notes each layer.

    Several inputs are given as a sequence of shapes; a tensor, or a sequence of them, is itself
    run. `dtype` is the inputs'; by default the first parameter's. The model is called in evaluation
    mode and left as it was. What a forward() computes by functions rather than layers is in no
    layer's row. Errors: the model's own; ValueError on a shape that is none.

    >>> found = tw.summary(nn.Sequential(nn.Linear(784, 100), nn.ReLU()), (64, 784))
    >>> found.parameters, found.multiply_adds, found.layers[1].output_shape
    (78500, 5017600, (64, 100))
    """
    if dtype is None:
        dtype = next((p.dtype for p in model.parameters()), dtypes.float32)
    if isinstance(input_shape, Tensor):
        inputs = [input_shape]
    elif isinstance(input_shape, (tuple, list)) and any(isinstance(x, Tensor) for x in input_shape):
        inputs = list(input_shape)
    else:
        inputs = [functional.zeros(*shape, dtype=dtype) for shape in _shapes(input_shape)]
    layers: list[LayerSummary] = []
    with evaluating(model), _watching(model, layers), no_grad():
        model(*inputs)
    parameters = list(model.parameters())
    return Summary(
        tuple(layers),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
    )


def _shapes(given: Any) -> list[Shape]:
    try:
        shapes = list(given)
        if shapes and all(isinstance(n, int) for n in shapes):
            shapes = [shapes]
        found = [tuple(int(n) for n in shape) for shape in shapes]
    except TypeError:
        found = []
    if not found or any(n < 1 for shape in found for n in shape):
        raise error(
            ValueError, "summary", "the shape of an input, like (1, 3, 224, 224)", given,
            "give the batch axis too",
        )  # fmt: skip
    return found


@contextmanager
def _watching(model: Module, layers: list[LayerSummary]) -> Iterator[None]:
    """Hooks that note the calls of all layers. They also keep containers from fusing layers, so
    that each is called."""
    counted: set[int] = set()  # parameters met before, which layers may share

    def watch(name: str, module: Module) -> Any:
        def note(_: Module, inputs: tuple[Any, ...], output: Any) -> None:
            own = {id(p): p.numel() for p in module.parameters(recurse=False)}
            new = sum(size for key, size in own.items() if key not in counted)
            counted.update(own)
            outputs = list(tensors_in(output))
            layers.append(
                LayerSummary(
                    name,
                    type(module).__name__,
                    outputs[0].shape if outputs else (),
                    new,
                    _multiply_adds(module, inputs, outputs),
                    sum(x.numel() * x.dtype.itemsize for x in outputs),
                )
            )

        return module.register_forward_hook(note)

    handles = [
        watch(name, module)
        for name, module in model.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _multiply_adds(module: Module, inputs: tuple[Any, ...], outputs: list[Tensor]) -> int:
    """Every output element of a linear layer or convolution is a dot product with weight[i], as
    every input element of a transposed one is spread by weight[i]. Each step of a sequence meets
    all matrices of a recurrent layer."""
    if isinstance(module, (RNNBase, RNNCellBase)):
        steps = next(tensors_in(inputs)).numel() // module.input_size
        return steps * sum(p.numel() for p in module.parameters() if p.ndim == 2)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2 or not outputs:
        return 0
    transposed = type(module).__name__.startswith("ConvTranspose")
    across = next(tensors_in(inputs)) if transposed else outputs[0]
    return across.numel() * math.prod(weight.shape[1:])


def _table(found: Summary) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", "total")
    table.add_column("kind")
    for title, total in (
        ("output", ""),
        ("parameters", f"{found.parameters:,}"),
        ("multiply-adds", f"{found.multiply_adds:,}"),
        ("activation memory", _memory(found.activation_bytes)),
    ):
        table.add_column(title, total, justify="right", no_wrap=True)
    for layer in found.layers:
        table.add_row(
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.output_shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            _memory(layer.activation_bytes),
        )
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    frozen = found.parameters - found.trainable_parameters
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([*lines, f"{frozen:,} parameters take no gradient"] if frozen else lines)


def _memory(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
