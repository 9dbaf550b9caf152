"""PyTorch's own databases of calls, OpInfo and ModuleInfo, over all that exists here.

torch_disagreements.txt names what differs, each with the reason. It only shrinks: a line in it that
agrees fails the suite until it is taken out.
"""

from pathlib import Path

import pytest

from tilework.testing import torch_judge

torch, _ = (
    pytest.importorskip(name, reason=f"{name}, of PyTorch's own tests, is not installed")
    for name in ("torch", "expecttest")
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Its threads wait for each other at every call, which takes ten times what the calls do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LINES = Path(__file__).with_name("torch_disagreements.txt").read_text().splitlines()
KNOWN = dict(line.split(" -> ", 1) for line in LINES if line and not line.startswith("#"))


def check(found, known):
    new = [f"{key}\n    {samples[0]}" for key, samples in found.items() if key not in known]
    assert not new, "unlisted:\n" + "\n".join(new)
    gone = known - set(found)
    assert not gone, "these agree now, take them out of the list:\n" + "\n".join(sorted(gone))


def test_operators():
    check(torch_judge.operators(), {key for key in KNOWN if not key.startswith("nn.") or
                                    key.startswith("nn.functional.")})  # fmt: skip


def test_modules():
    check(torch_judge.modules(), {key for key in KNOWN if key.startswith("nn.") and
                                  not key.startswith("nn.functional.")})  # fmt: skip


def test_every_reason_is_said():
    assert all(len(reason) > 10 for reason in KNOWN.values())


# Seeded once each: the judge sees another value, dtype, shape, gradient, and an error of no form.
BUGS = {
    "values": ("sigmoid", lambda right: lambda x: right(x) * 1.001),
    "dtype": ("ceil", lambda right: lambda x: right(x).double()),
    "shape": ("flatten", lambda right: lambda x, *a, **k: right(x, *a, **k).unsqueeze(0)),
    "gradient": ("tanh", lambda right: lambda x: right(x.detach()) + (x - x.detach())),
    "refused": ("amax", lambda right: lambda x, *a, **k: x.missing),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_judge_sees(name, monkeypatch):
    op, bug = BUGS[name]
    monkeypatch.setattr(torch_judge.tw, op, bug(getattr(torch_judge.tw, op)))
    found = torch_judge.operators((op,))
    assert any(key.startswith(f"{op} function: ") for key in found)
