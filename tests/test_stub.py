"""tensor.pyi against the class that functional has completed."""

import ast
import inspect
from pathlib import Path

import tilework as tw

STUB = Path(tw.__file__).with_name("tensor.pyi")
# Made by the interpreter for any class with slots.
MACHINERY = {"__module__", "__doc__", "__slots__", "__weakref__", "__dict__", "__qualname__",
             "__firstlineno__", "__static_attributes__"}  # fmt: skip


def stub_class(name):
    tree = ast.parse(STUB.read_text())
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)


def stub_members():
    members = {}
    for node in stub_class("Tensor").body:
        if isinstance(node, ast.FunctionDef):
            members.setdefault(node.name, node)
        elif isinstance(node, ast.AnnAssign):
            members[node.target.id] = node
    return members


def test_the_same_names():
    assert set(stub_members()) == set(vars(tw.Tensor)) - MACHINERY


def _value(default):
    """What a default stands for: a literal, or a memory format by its name."""
    return getattr(tw, default.id) if isinstance(default, ast.Name) else ast.literal_eval(default)


def test_the_same_parameters():
    for name, node in stub_members().items():
        found = vars(tw.Tensor)[name]
        if not inspect.isfunction(found):
            continue
        wanted = list(inspect.signature(found).parameters.values())[1:]
        arguments = node.args
        declared = [a.arg for a in (*arguments.args[1:], *arguments.kwonlyargs)]
        declared += [a.arg for a in (arguments.vararg, arguments.kwarg) if a]
        assert sorted(p.name for p in wanted) == sorted(declared), name
        defaults = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
        real = [p.default for p in wanted if p.default is not p.empty]
        assert [_value(d) for d in defaults] == real, name


def test_properties_and_setters():
    for name, node in stub_members().items():
        found = vars(tw.Tensor)[name]
        is_property = isinstance(node, ast.FunctionDef) and any(
            isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list
        )
        assert is_property == isinstance(found, property), name
        if is_property:
            declared = [getattr(n, "name", None) for n in stub_class("Tensor").body].count(name)
            assert declared == 1 + (found.fset is not None) + (found.fdel is not None), name


def test_every_public_method_is_described():
    for name, found in vars(tw.Tensor).items():
        if not name.startswith("_") and (inspect.isfunction(found) or isinstance(found, property)):
            assert inspect.getdoc(found), name
