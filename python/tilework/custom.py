"""Ops of one's own: PyTorch's autograd.Function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from tilework.arrays import host, namespace
from tilework.errors import error, word
from tilework.storage import NOTHING
from tilework.tape import Op, mode, no_grad, record
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]


class FunctionCtx:
    """What a Function's forward leaves for its backward: saved tensors, and attributes of any name.

    `needs_input_grad` tells, for each argument of apply, whether its gradient is wanted.
    """

    needs_input_grad: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] = ()
    _shapes: tuple[Any, ...] = ()  # of the outputs: shape, dtype and namespace
    _apart: tuple[Tensor, ...] = ()
    _materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for backward, which may not be written until then. TypeError on what is
        none; plain values are attributes."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise error(
                    TypeError, "save_for_backward", "tensors", word(t), "set it as an attribute"
                )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What save_for_backward was given."""
        return tuple(s.tensor() if isinstance(s, _Output) else s for s in self._saved)

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Outputs that no gradient comes back from, masks and indices say."""
        self._apart = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros for an output that no gradient came to (as without this
        call), or None."""
        self._materialize = value

    def mark_dirty(self, *_: Tensor) -> None:
        raise error(
            NotImplementedError, "mark_dirty", "a forward that writes into no input",
            "one that does", "return a new tensor, and copy_() it into the input after apply",
        )  # fmt: skip


class _Output:
    """A saved output. It holds the tape that holds this: strongly they would outlive each other."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = ref(tensor)

    def tensor(self) -> Tensor:
        found = self._tensor()
        if found is None:
            raise error(
                RuntimeError, "saved_tensors", "a saved output that is still there", "none",
                "keep the output until backward, or save an input",
            )  # fmt: skip
        return found


class _Parts(dict[int, Any]):
    """The gradients of some outputs, by number."""

    def __add__(self, other: _Parts) -> _Parts:
        total = _Parts(self)
        for i, g in other.items():
            total[i] = total[i] + g if i in total else g
        return total


def _into_part(total: Any, mine: bool, grad: Array, number: int, whole: Tensor) -> _Parts:
    part = _Parts({number: grad})
    return part if total is None else total + part


# The outputs of a Function are parts of one node, whose backward is called once with all gradients.
_PART = Op(
    "function_part",
    differentiable=lambda grad, inputs, number: (_Parts({number: grad}),),
    place=_into_part,
)


class Function:
    """An op with a gradient of one's own: a class with the static methods `forward(ctx, *args)` and
    `backward(ctx, *grads)`, called by `apply(*args)`.

    forward is off the tape; it gives a tensor, or a tuple of tensors and other values. What it
    leaves for backward it puts on `ctx` (FunctionCtx). backward gets the gradient of each output
    and gives that of each argument, None for what has none; with create_graph=True its own ops are
    recorded. Or, as in PyTorch, `forward(*args)` beside `setup_context(ctx, inputs, output)`.

    RuntimeError where backward gives another number of gradients, or a shape that is not that of
    its argument and does not sum to it.

    >>> class Step(tw.autograd.Function):  # which passes gradients straight through
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return (x > 0).float()
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         return grad
    >>> x = tw.tensor([-1.0, 2.0], requires_grad=True)
    >>> Step.apply(x).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """

    _op: Op

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._op = Op(f"{cls.__name__}Backward", cls._arrays, cls._gradients)

    @staticmethod
    def forward(ctx: Any, *args: Any, **options: Any) -> Any:
        """What the op computes; each subclass says it."""
        raise error(NotImplementedError, "Function", "a static method forward", "none", "define it")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """What a forward without ctx leaves for backward."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the arguments; each subclass says them."""
        raise error(
            NotImplementedError, "Function", "a static method backward", "none", "define it"
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """What forward gives of the arguments, on the tape."""
        ctx = FunctionCtx()
        inputs = tuple(a if isinstance(a, Tensor) else None for a in args)
        ctx.needs_input_grad = tuple(
            mode.enabled and t is not None and t._requires_grad for t in inputs
        )
        with no_grad():
            if cls.setup_context is Function.setup_context:
                output = cls.forward(ctx, *args)
            else:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
        if not any(ctx.needs_input_grad):
            return output
        several = isinstance(output, tuple)
        found = _put_on_tape(cls._op, ctx, inputs, output if several else (output,))
        return found if several else found[0]

    # --- the way back ---

    @classmethod
    def _gradients(cls, grad: Any, inputs: Inputs, ctx: FunctionCtx) -> Sequence[Any]:
        """In tensors: of one output its gradient, of several _Parts."""
        received = grad if isinstance(grad, _Parts) else {0: grad}
        grads = [received.get(i) for i in range(len(ctx._shapes))]
        if ctx._materialize:
            grads = [
                g if g is not None or made is None else fresh(made[2].zeros(made[0], made[1]))
                for g, made in zip(grads, ctx._shapes, strict=True)
            ]
        given = cls.backward(ctx, *grads)
        given = given if isinstance(given, (tuple, list)) else (given,)
        if len(given) < len(inputs) or any(g is not None for g in given[len(inputs) :]):
            raise error(
                RuntimeError, cls.__name__, f"{len(inputs)} gradients from backward", len(given),
                "return one for each argument of forward, None for what has none",
            )  # fmt: skip
        return [
            None if g is None or t is None else _fitted(cls.__name__, g, t)
            for g, t in zip(given, inputs, strict=False)
        ]

    @classmethod
    def _arrays(cls, grad: Any, inputs: Inputs, ctx: FunctionCtx) -> Sequence[Any]:
        """In arrays, each a view: the walk takes what is a view for another's memory, and what
        backward gives may be anything that is saved."""
        with no_grad():
            tensors = (
                _Parts({i: fresh(g) for i, g in grad.items()})
                if isinstance(grad, _Parts)
                else fresh(grad)
            )
            given = cls._gradients(tensors, inputs, ctx)
        return [None if g is None else g._array[...] for g in given]


def _fitted(op: str, grad: Any, x: Tensor) -> Tensor:
    """A gradient in the shape and dtype of its input, of which it may have been broadcast."""
    shape = getattr(grad, "shape", None)
    if shape != x.shape:
        try:
            grad = grad.sum_to_size(x.shape)
        except (AttributeError, RuntimeError, ValueError):
            raise error(
                RuntimeError, op, f"a gradient {x.shape} from backward",
                word(grad) if shape is None else shape, "return it in the argument's shape",
            ) from None  # fmt: skip
    fitted: Tensor = grad.to(x.dtype)
    return fitted


def _put_on_tape(op: Op, ctx: FunctionCtx, inputs: Inputs, outputs: tuple[Any, ...]) -> Any:
    """The outputs, those that are floats as results of `op`."""
    before = {id(t._storage) for t in inputs if t is not None}
    apart = {id(t) for t in ctx._apart}
    results, shapes, ways = list(outputs), [], []
    for i, y in enumerate(outputs):
        way = isinstance(y, Tensor) and y.is_floating_point() and id(y) not in apart
        shapes.append((y.shape, y.dtype, namespace(y._array)) if way else None)
        if way:
            ways.append(i)
            # An input, or a view, has a place of its own on the tape.
            if id(y._storage) in before or getattr(y, "_aside", NOTHING) is not NOTHING:
                with no_grad():
                    results[i] = y.clone()
    ctx._shapes, ctx._apart = tuple(shapes), ()
    made = {id(outputs[i]): results[i] for i in ways}
    ctx._saved = tuple(_Output(made[id(s)]) if id(s) in made else s for s in ctx._saved)
    saved = (s for s in ctx._saved if s is not None)
    reads = tuple((s.tensor() if isinstance(s, _Output) else s)._storage for s in saved)
    if len(outputs) == 1 and ways:
        record(results[0], op, inputs, ctx, reads)
    elif ways:
        whole = record(fresh(host.empty(0)), op, inputs, ctx, reads)
        for i in ways:
            record(results[i], _PART, (whole,), i, ())
    return tuple(results)
