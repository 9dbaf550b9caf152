"""PyTorch as a judge: its databases of calls, made on both libraries and compared.

`operators()` and `modules()` give each judgement of PyTorch's OpInfo and ModuleInfo databases over
what exists here. A disagreement is told by a key, "name variant: kind", that does not change with
the dtype or the sample; `tests/torch_disagreements.txt` holds those that stand, with reasons.
Needs torch, expecttest and pytest (PyTorch's own test helpers import them).
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing.tolerance import eps, growth

DTYPES = ("float32", "float64", "bfloat16", "int64", "bool")
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)
# Of the weights and inputs of a module: rounding around a gradient of 0 differs with them.
MODULE_SEED = 1
# Of random results the shape and the dtype count.
RANDOM = (
    "bernoulli", "dropout", "empty", "new_empty", "normal", "rand", "uniform",
)  # fmt: skip
# Where equal elements stand is nobody's promise: indices count by what they choose.
TIES = ("sort", "argsort", "topk")
# Whose gradients are exponentials of elements that may be large.
EXPONENTIALS = ("logsumexp",)
# Arguments of what does not exist here: foreign layouts, other memory, several generators.
ABSENT = frozenset({"layout", "pin_memory", "generator", "out"})


# --- to and fro ---


def array_of(t: Any) -> Any:
    """The memory of a torch tensor as an array, strides and all."""
    import torch

    t = t.detach()
    if t.dtype is torch.bfloat16:
        return t.view(torch.int16).numpy().view(tw.bfloat16)
    return t.numpy()


def to_ours(value: Any) -> Any:
    """A sample's argument for tilework."""
    import torch

    if isinstance(value, torch.Tensor):
        made = tw.from_numpy(array_of(value))
        return made.requires_grad_() if value.requires_grad and value.is_leaf else made
    if isinstance(value, torch.dtype):
        return np.dtype(_dtype_name(value)) if value is not torch.bfloat16 else tw.bfloat16
    if isinstance(value, torch.memory_format):
        return getattr(tw, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(to_ours(v) for v in value)
    if isinstance(value, dict):
        return {k: to_ours(v) for k, v in value.items()}
    return value


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _flat(result: Any) -> list[Any]:
    """What a call gave, as a list."""
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in _flat(part)]
    return [result]


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "requires_grad")


def _leaves(value: Any) -> list[Any]:
    """The tensors among arguments that gradients are wanted of."""
    return [t for t in _all_tensors(value) if t.requires_grad and t.is_leaf]


# --- comparing ---


def _described(t: Any) -> tuple[str, tuple[int, ...]]:
    return _dtype_name(t.dtype), tuple(t.shape)


def compared(ours: Any, theirs: Any, what: str, numbers: bool = True, length: int = 1) -> str:
    """The kind of disagreement of two results; empty where there is none."""
    a, b = _flat(ours), _flat(theirs)
    if len(a) != len(b):
        return f"{what}: {len(a)} results, not {len(b)}"
    for x, y in zip(a, b, strict=True):
        if not _is_tensor(y) or not _is_tensor(x):
            same = _is_tensor(x) == _is_tensor(y) and (not numbers or x == y or (x != x and y != y))
            if not same:
                return f"{what}: {type(x).__name__}, not {type(y).__name__} or its value"
            continue
        (dtype, shape), (their_dtype, their_shape) = _described(x), _described(y)
        if dtype != their_dtype:
            return f"{what}: {dtype}, not {their_dtype}"
        if shape != their_shape:
            return f"{what}: another shape"
        if numbers and not _near(array_of(y), x.detach().numpy(), dtype, length):
            return f"{what}: other values"
    return ""


def _near(theirs: Any, ours: Any, dtype: str, length: int) -> bool:
    """Within what the roundings of sums of `length` terms explain, at the largest magnitude;
    bfloat16 is rounded at every step by PyTorch, once here."""
    if dtype not in ("float32", "float64", "bfloat16"):
        return bool(np.array_equal(ours, theirs))
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    finite = np.isfinite(b)
    size = 1.0 + float(np.abs(b[finite]).max(initial=0.0))
    bound = (16.0 + 4.0 * growth(length)) * eps(dtype) * size
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= bound
    return bool(np.all(np.where(finite, near, (a == b) | (np.isnan(a) & np.isnan(b)))))


class _Run:
    """One call on one library: what came, or what was raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.raised: Exception | None = None
        self.result: Any = None
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self.result = call()
        except Exception as reason:
            self.raised = reason


def _told(reason: Exception) -> str:
    """The part of a message that does not change with the sample."""
    text = " ".join(str(reason).split())
    text = text.partition("; got ")[0]
    return "".join("#" if c.isdigit() else c for c in text)[:90]


def judged(ours: _Run, theirs: _Run, what: str, numbers: bool = True, length: int = 1) -> str:
    """The kind of disagreement of two calls."""
    if ours.raised is not None and theirs.raised is None:
        if not isinstance(ours.raised, REFUSALS) or not str(ours.raised).startswith("["):
            return f"{what}: fails with {type(ours.raised).__name__} {_told(ours.raised)}"
        return f"{what}: refused here, {_told(ours.raised)}"
    if theirs.raised is not None:
        return "" if ours.raised is not None else f"{what}: refused there"
    return compared(ours.result, theirs.result, what, numbers, length)


# --- operators ---


def _ours_of(name: str) -> dict[str, Callable[..., Any]]:
    """What bears an OpInfo's name here: {"function", "method" or "in place": it}."""
    import torch

    parts = name.split(".")
    found: dict[str, Any] = {}
    if parts[:-1] == ["nn", "functional"]:
        found["function"] = getattr(F, parts[-1], None)
    elif len(parts) == 1:
        shared = name in F.__all__ and hasattr(torch, name)
        found["function"] = getattr(tw, name) if shared else None
        found["method"] = getattr(tw.Tensor, name, None)
        found["in place"] = getattr(tw.Tensor, f"{name}_", None)
    return {variant: f for variant, f in found.items() if callable(f)}


def _theirs_of(info: Any, variant: str) -> Any:
    if variant == "function":  # a lambda may order its arguments as a method does
        return None if getattr(info.op, "__name__", "") == "<lambda>" else info.op
    return info.method_variant if variant == "method" else info.inplace_variant


def _drawn(inputs: Any) -> list[Any]:
    """What a database's function gives, each one's numbers from the same seed.

    As PyTorch's own iterator does it, which besides looks up at each sample which test of PyTorch's
    asks for it: that takes ten times what the calls do.
    """
    from torch.testing._internal.common_utils import set_rng_seed

    found: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = iter(inputs())
            while True:
                set_rng_seed()
                found.append(next(source))
        except StopIteration:
            return found
        except Exception:  # the database has none in this dtype
            return []


def _samples(info: Any, dtype: Any, requires_grad: bool) -> list[Any]:
    return _drawn(lambda: info.sample_inputs_func(info, "cpu", dtype, requires_grad))


def _cloned(sample: Any) -> Any:
    """With its own memory, no leaf: for calls in place."""
    import torch

    return sample.transform(lambda v: v.detach().clone() if isinstance(v, torch.Tensor) else v)


def _by_what_they_choose(name: str, run: _Run, given: Any) -> None:
    """Indices of a result replaced by the elements that they choose."""
    if run.raised is not None:
        return
    x, args, options = given
    dim = options.get("dim", next((a for a in args[name == "topk" :] if type(a) is int), -1))
    several = not _is_tensor(run.result)
    indices = run.result[1] if several else run.result
    chosen = x.gather(dim, indices).detach()
    run.result = (run.result[0], chosen) if several else chosen


def _length(given: Any) -> int:
    """Of the longest sum that a call can make."""
    return max((t.numel() for t in _all_tensors(given)), default=1)


def _all_tensors(value: Any) -> list[Any]:
    parts = list(value.values()) if isinstance(value, dict) else value
    if isinstance(parts, (tuple, list)):
        return [t for part in parts for t in _all_tensors(part)]
    return [value] if _is_tensor(value) else []


def _gradients(outputs: Any, leaves: list[Any], zeros: Any, cotangent: Any) -> list[Any]:
    """The gradients of the leaves under fixed cotangents."""
    roots = [t for t in _flat(outputs) if _is_tensor(t) and t.requires_grad]
    total = None
    for number, t in enumerate(roots):
        part = (t * cotangent(t, number)).sum()
        total = part if total is None else total + part.to(total.dtype)
    if total is None:
        return []
    total.backward()
    return [zeros(t) if t.grad is None else t.grad for t in leaves]


def _cotangent(shape: tuple[int, ...], number: int) -> Any:
    rng = np.random.default_rng((number, *shape))
    return np.asarray(rng.integers(-2, 3, shape), np.float32)  # exact in every dtype


def _gradient_kind(ours: _Run, theirs: _Run, our_leaves: list[Any], their_leaves: list[Any],
                   process: Callable[[Any], Any], exponential: bool = False) -> str:  # fmt: skip
    import torch

    for leaf in their_leaves:  # samples share some
        leaf.grad = None

    def of_theirs() -> Any:
        return _gradients(
            process(theirs.result), their_leaves, torch.zeros_like,
            lambda t, n: torch.from_numpy(_cotangent(tuple(t.shape), n)).to(t.dtype),
        )  # fmt: skip

    def of_ours() -> Any:
        return _gradients(
            process(ours.result), our_leaves, tw.zeros_like,
            lambda t, n: tw.from_numpy(_cotangent(t.shape, n)).to(t.dtype),
        )  # fmt: skip

    length = _length([our_leaves, ours.result])
    # An exponential of x is good to |x| eps at best: as much as a sum of x^2 terms.
    largest = max((float(t.detach().abs().max()) for t in their_leaves if t.numel()), default=0.0)
    length = max(length, int(min(largest, 1e6)) ** 2) if exponential else length
    return judged(_Run(of_ours), _Run(of_theirs), "gradient", length=length)


def _judge_sample(info: Any, variant: str, ours: Any, sample: Any, numbers: bool) -> str:
    """The disagreement of one sample; empty where there is none."""
    theirs = _theirs_of(info, variant)
    if theirs is None or ABSENT & set(sample.kwargs):
        return ""
    if variant == "in place":
        twin, sample = _cloned(sample), _cloned(sample)
        given = to_ours((twin.input, twin.args, twin.kwargs))
    else:
        given = to_ours((sample.input, sample.args, sample.kwargs))
    their_run = _Run(lambda: theirs(sample.input, *sample.args, **sample.kwargs))
    our_run = _Run(lambda: ours(given[0], *given[1], **given[2]))
    if info.name in TIES:
        _by_what_they_choose(info.name, our_run, given)
        _by_what_they_choose(info.name, their_run, (sample.input, sample.args, sample.kwargs))
    kind = judged(our_run, their_run, "result", numbers, _length(given))
    if kind or our_run.raised is not None or not numbers or variant == "in place":
        return kind
    leaves = _leaves([given[0], list(given[1]), given[2]])
    their_leaves = _leaves([sample.input, list(sample.args), sample.kwargs])
    if not their_leaves:
        return ""
    process, exponential = sample.output_process_fn_grad, info.name in EXPONENTIALS
    return _gradient_kind(our_run, their_run, leaves, their_leaves, process, exponential)


def _judge_errors(info: Any, ours: Any) -> Iterator[str]:
    """Samples that PyTorch refuses."""
    for error in _drawn(lambda: info.error_inputs_func(info, "cpu")):
        theirs = _run_sample(info.op, error.sample_input)
        if theirs.raised is None:
            continue
        try:
            run = _run_sample(ours, error.sample_input, to_ours)
        except Exception:  # of a device or dtype that is not here
            continue
        if run.raised is None:
            yield f"error: refused there, {_told(theirs.raised)[:60]}"
        elif not isinstance(run.raised, REFUSALS) or not str(run.raised).startswith("["):
            yield f"error: fails with {type(run.raised).__name__} {_told(run.raised)}"


def _run_sample(call: Any, sample: Any, carry: Callable[[Any], Any] = lambda v: v) -> _Run:
    x, args, options = carry((sample.input, sample.args, sample.kwargs))
    return _Run(lambda: call(x, *args, **options))


def operators(names: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """{key of a disagreement: samples that show it}, over the OpInfo database (or a part of it)."""
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[str]] = defaultdict(list)
    for info in op_db:
        if (names and info.name not in names) or info.variant_test_name == "in_place":
            continue
        for variant, ours in _ours_of(info.name).items():
            name = f"{info.name} {info.variant_test_name} {variant}".replace("  ", " ")
            for key, sample in _judge_operator(info, variant, ours):
                found[f"{name}: {key}"].append(sample)
    return dict(found)


def _judge_operator(info: Any, variant: str, ours: Any) -> Iterator[tuple[str, str]]:
    import torch

    numbers = not any(word in info.name for word in RANDOM)
    for name in DTYPES:
        dtype = getattr(torch, name)
        if dtype not in info.supported_dtypes("cpu"):
            continue
        wants = dtype.is_floating_point and info.supports_autograd
        for sample in _samples(info, dtype, wants):
            try:
                kind = _judge_sample(info, variant, ours, sample, numbers)
            except Exception as reason:  # a sample that cannot be carried over
                kind = f"judge: {type(reason).__name__} {_told(reason)}"
            if kind:
                yield kind, f"{name} {sample.summary()}"
    if variant == "function":
        for kind in _judge_errors(info, ours):
            yield kind, "error_inputs"


# --- modules ---


def modules() -> dict[str, list[str]]:
    """The same over the ModuleInfo database: results and gradients, the weights copied."""
    import torch
    from torch.testing._internal.common_modules import module_db

    found: dict[str, list[str]] = defaultdict(list)
    for info in module_db:
        ours = getattr(nn, info.module_cls.__name__, None)
        if ours is None:
            continue
        torch.manual_seed(MODULE_SEED)  # whatever was judged before
        for dtype, training in itertools.product((torch.float32, torch.float64), (True, False)):
            samples = info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=True, training=training
            )
            for sample in samples:
                kind = _judge_module(info.module_cls, ours, sample, dtype, training)
                if kind:
                    name = f"nn.{ours.__name__}: {kind}"
                    found[name].append(f"{_dtype_name(dtype)} training={training} {sample.desc}")
    return dict(found)


def _built(module: Any, sample: Any, carry: Callable[[Any], Any]) -> Any:
    given = carry((sample.constructor_input.args, sample.constructor_input.kwargs))
    return module(*given[0], **given[1])


def _judge_module(theirs: Any, ours: Any, sample: Any, dtype: Any, training: bool) -> str:
    their_module = _built(theirs, sample, lambda v: v).to(dtype).train(training)
    made = _Run(lambda: _built(ours, sample, to_ours))
    if made.raised is not None:
        return judged(made, _Run(lambda: None), "constructor")
    our_module = made.result.to(tw.float64 if _dtype_name(dtype) == "float64" else tw.float32)
    our_module.train(training)
    our_module.load_state_dict({k: array_of(v) for k, v in their_module.state_dict().items()})
    args, options = sample.forward_input.args, sample.forward_input.kwargs
    given = to_ours((args, options))
    their_run = _Run(lambda: their_module(*args, **options))
    our_run = _Run(lambda: our_module(*given[0], **given[1]))
    numbers = "Dropout" not in ours.__name__
    kind = judged(our_run, their_run, "result", numbers)
    if kind or our_run.raised is not None or not numbers:
        return kind
    our_leaves = [*_leaves([list(given[0]), given[1]]), *our_module.parameters()]
    their_leaves = [*_leaves([list(args), options]), *their_module.parameters()]
    return _gradient_kind(our_run, their_run, our_leaves, their_leaves, lambda y: y)
