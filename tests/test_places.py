"""Places that cannot be forgotten: what is public has a case, an export and a type."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import sys
import types
from functools import cache
from pathlib import Path

import pytest

import tilework as tw
from tilework import functional as F
from tilework import models, nn, optim
from tilework.optim import lr_scheduler
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import forward

# Of one op, so many cases are run to see what they call.
MOST = 30
# What stands between a case and the function that it calls: decorators, and Python's copy.
BETWEEN = (
    "functional/border.py", "functional/common.py", "functional/cast.py", "functional/lowering.py",
    "functional/generator.py", "autocasting.py", "tape.py", "/copy.py",
)  # fmt: skip

# Tensor's methods that no case can call, and why.
ABOUT_MODELS = {  # no models themselves
    "KeyValueCache", "PagedKeyValueCache", "from_pretrained", "generate", "stream",
}  # fmt: skip
# Whose answer rounding decides (testing/cases/cnns.py); test_models.py counts its parameters.
ILL_POSED = {"efficientnet_b7"}
NO_CASE = {
    "__rmatmul__": "it only refuses: a product wants two tensors",
    "__hash__": "it is object's",
    "register_hook": "of the tape: test_hooks.py",
    "register_post_accumulate_grad_hook": "of the tape: test_hooks.py",
    "cuda": "of devices: test_cuda_devices.py",
    "pin_memory": "of devices: test_cuda_devices.py",
    "is_pinned": "of devices: test_cuda_devices.py",
}


def code_of(found):
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return getattr(inspect.unwrap(found), "__code__", None) if callable(found) else None


def methods():
    """Tensor's public methods, properties and operators, by name."""
    return {
        name: code
        for name, found in vars(tw.Tensor).items()
        if (not name.startswith("_") or name.startswith("__"))
        and (code := code_of(found)) is not None
        and not code.co_filename.startswith("<")
    }


def functions():
    return {name: code_of(getattr(F, name)) for name in F.__all__}


def called_by_a_case(frame):
    back = frame.f_back
    while back is not None and back.f_code.co_filename.endswith(BETWEEN):
        back = back.f_back
    return back is not None and "testing/cases/" in back.f_code.co_filename.replace("\\", "/")


def schedules():
    return [
        found
        for found in vars(lr_scheduler).values()
        if inspect.isclass(found) and issubclass(found, lr_scheduler.LRScheduler)
    ]


@cache
def used_by_cases():
    """The code that cases call themselves, and the names of the classes that they build."""
    wanted = {*functions().values(), *methods().values()}
    bases = {kind.__init__.__code__ for kind in (nn.Module, optim.Optimizer, *schedules())}
    entered, built = set(), set()

    def look(frame, event, _):
        code = frame.f_code
        if event != "call":
            return
        if code in wanted and code not in entered and called_by_a_case(frame):
            entered.add(code)
        if code in bases:
            built.update(kind.__name__ for kind in type(frame.f_locals["self"]).__mro__)

    for family in FAMILIES:
        ops = {}
        for case in of_family(family):
            ops.setdefault(case.op, []).append(case)
        for cases in ops.values():
            for case in [c for c in cases if c.quick][:MOST]:
                inputs = case.make_inputs(case.dtypes[0])
                sys.setprofile(look)
                try:
                    forward(case, inputs)
                finally:
                    sys.setprofile(None)
    return entered, built


def test_every_function_has_a_case():
    entered, _ = used_by_cases()
    missing = [name for name, code in functions().items() if code not in entered]
    assert not missing, f"no case calls {missing}: add rows to a family of testing/cases"


def test_every_method_of_a_tensor_has_a_case():
    entered, _ = used_by_cases()
    missing = [n for n, c in methods().items() if c not in entered and n not in NO_CASE]
    assert not missing, f"no case calls {missing}: add rows to a family of testing/cases"


def public_classes(package, base):
    return {
        name: found
        for module in modules_of(package)
        for name, found in vars(module).items()
        if inspect.isclass(found)
        and issubclass(found, base)
        and found.__module__ == module.__name__
        and not name.startswith("_")
    }


def modules_of(package):
    return [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    ]


def test_every_layer_has_a_case():
    _, built = used_by_cases()
    layers = [n for n in nn.__all__ if inspect.isclass(getattr(nn, n)) and n != "Parameter"]
    assert not [name for name in layers if name not in built]
    # built on the way to another one is not enough
    ops = {case.op for family in FAMILIES for case in of_family(family)}
    assert not [name for name in layers if name not in ops]


def test_every_optimiser_and_schedule_has_a_case():
    _, built = used_by_cases()
    kinds = [n for n in optim.__all__ if inspect.isclass(getattr(optim, n))]
    kinds += [kind.__name__ for kind in schedules()]
    assert not [name for name in kinds if name not in built]


def test_every_model_has_a_case():
    ops = {case.op for case in of_family("models")}
    made = [n for n in models.__all__ if not dataclasses.is_dataclass(getattr(models, n))]
    assert not [name for name in made if name not in {*ops, *ABOUT_MODELS, *ILL_POSED}]


# --- exports and types ---


# Modules of functional whose functions serve the others.
NOT_PUBLIC = {"numbers_first"}  # an example of a helper
HELPERS = {
    "border", "cast", "common", "conv_shapes", "generator", "inplace", "lowering", "packed",
    "packing", "planes", "windows",
}  # fmt: skip


def test_every_function_with_an_example_is_exported():
    """An example in its docstring is what makes a function public here."""
    missing = []
    for module in modules_of(F):
        for name, found in vars(module).items():
            public = isinstance(found, types.FunctionType) and not name.startswith("_")
            if not public or module.__name__.rpartition(".")[2] in HELPERS:
                continue
            if found.__module__ == module.__name__ and ">>>" in (found.__doc__ or ""):
                exported = name in {*F.__all__, *NOT_PUBLIC} or hasattr(tw.Tensor, name)
                missing += [] if exported else [f"{module.__name__}.{name}"]
    assert not missing


@pytest.mark.parametrize("package", [tw, F, nn, optim, models], ids=lambda p: p.__name__)
def test_what_is_exported_exists_once(package):
    names = package.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(package, name), name


def test_functions_are_exported_at_the_top():
    assert set(F.__all__) <= set(tw.__all__)
    for name in F.__all__:
        assert getattr(tw, name) is getattr(F, name)


def test_every_class_of_a_floor_is_exported():
    own = {"Activation", "Applied", "Loss", "RNNBase", "RNNCellBase", "WeightedLoss"}  # bases
    own |= {"ResNetTrunk", "BasicBlock", "Bottleneck", "Subsample", "FCNHead"}
    own |= {"BasicConv2d", "ConvNorm", "Inception", "InceptionAux", "InvertedResidual", "MBConv"}
    own |= {"SqueezeExcitation", "StochasticDepth"}
    for package, base in (
        (nn, nn.Module), (optim, optim.Optimizer), (models, nn.Module),
    ):  # fmt: skip
        found = set(public_classes(package, base)) - own
        assert found <= set(package.__all__), found - set(package.__all__)


def test_the_stub_of_the_top_names_what_comes_later():
    """A type checker sees the modules that are imported when first asked for."""
    tree = ast.parse(Path(tw.__file__).read_text())
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "tilework"
        for alias in node.names
    }
    assert set(tw._LATER) <= typed
