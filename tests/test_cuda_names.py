"""torch.cuda's names: the card, streams, events and random states, by the simulated device and by a
fake of CuPy."""

import threading

import pytest

import tilework as tw
from tilework.engines import device as beside
from tilework.testing import simulated


@pytest.fixture
def served():
    if simulated.refusal():
        pytest.skip(simulated.refusal())
    with simulated.device() as made:
        yield made


# What a device is needed for, and where an argument names it.
NEEDS = {
    "init": tw.cuda.init,
    "current_device": tw.cuda.current_device,
    "set_device": lambda: tw.cuda.set_device(0),
    "device": lambda: tw.cuda.device(0),
    "get_device_name": tw.cuda.get_device_name,
    "get_device_capability": tw.cuda.get_device_capability,
    "get_device_properties": tw.cuda.get_device_properties,
    "mem_get_info": tw.cuda.mem_get_info,
    "synchronize": tw.cuda.synchronize,
    "initial_seed": tw.cuda.initial_seed,
    "get_rng_state": tw.cuda.get_rng_state,
    "Stream": tw.cuda.Stream,
    "current_stream": tw.cuda.current_stream,
    "default_stream": tw.cuda.default_stream,
    "Event": tw.cuda.Event,
}


@pytest.mark.parametrize("name", NEEDS)
def test_without_a_device_each_says_what_is_missing(name):
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    what, _, fix = tw.cuda.why_not().partition(": ")
    with pytest.raises(RuntimeError) as raised:
        NEEDS[name]()
    assert str(raised.value) == f"[{name}] expected a device for 'cuda'; got {what}: {fix}"


def test_without_a_device_the_rest_does_nothing():
    if tw.cuda.is_available():
        pytest.skip("there is a device here")
    state = tw.get_rng_state()
    assert not tw.cuda.is_initialized()
    assert tw.cuda.get_rng_state_all() == []
    tw.cuda.set_rng_state(tw.tensor([5, 5]))
    tw.cuda.set_rng_state_all([])
    tw.cuda.manual_seed(9)
    assert tw.equal(tw.get_rng_state(), state)
    with tw.cuda.device(-1), tw.cuda.device_of(tw.ones(1)), tw.cuda.stream(None):
        assert tw.ones(1).is_cpu


@pytest.mark.parametrize(
    "call",
    [
        tw.cuda.set_device, tw.cuda.device, tw.cuda.get_device_name, tw.cuda.get_device_properties,
        tw.cuda.mem_get_info, tw.cuda.synchronize, tw.cuda.current_stream, tw.cuda.Stream,
        tw.cuda.get_rng_state, tw.cuda.get_device_capability, tw.cuda.default_stream,
    ],
)  # fmt: skip
def test_an_argument_names_a_device_that_is_here(call, served):
    for name in ("cuda", "cuda:0", 0, tw.device("cuda")):
        call(name)
    with pytest.raises(ValueError, match="expected a CUDA device; got the CPU"):
        call("cpu")
    with pytest.raises(RuntimeError, match="below cuda:1; got 'cuda:1'"):
        call(1)


def test_what_the_card_is(served):
    found = tw.cuda.get_device_properties()
    assert (found.name, found.major, found.minor) == ("simulated", *served.capability())
    assert found.multi_processor_count == served.multiprocessors()
    free, total = tw.cuda.mem_get_info()
    x = tw.ones(1000, device="cuda")
    assert (found.total_memory, total) == (total, simulated._CARD)
    assert tw.cuda.mem_get_info()[0] == free - 4 * x.numel()
    tw.cuda.init()
    assert tw.cuda.is_initialized()
    with tw.cuda.device(0) as nothing, tw.cuda.device_of(x):
        assert nothing is None
        assert tw.ones(1).is_cpu  # as in PyTorch: no word of where tensors are made


def test_streams_are_taken_and_given_back(served):
    first, side = tw.cuda.current_stream(), tw.cuda.Stream(priority=-1)
    assert first == tw.cuda.default_stream() == tw.cuda.current_stream(0)
    assert len({first, tw.cuda.default_stream(), side}) == 2
    assert side != 0
    with tw.cuda.stream(side) as nothing:
        assert nothing is None
        assert tw.cuda.current_stream() == side
        with tw.cuda.stream(None), tw.cuda.Stream() as third:
            assert tw.cuda.current_stream() == third != side
            with side, side:
                assert tw.cuda.current_stream() == side
            assert tw.cuda.current_stream() == third
        assert tw.cuda.current_stream() == side
    assert tw.cuda.current_stream() == first
    with pytest.raises(KeyError), side:
        raise KeyError
    assert tw.cuda.current_stream() == first
    tw.cuda.set_stream(side)
    assert tw.cuda.current_stream() == side
    tw.cuda.set_stream(None)
    assert tw.cuda.current_stream() == side
    assert (side.device, side.__cuda_stream__()) == (tw.device("cuda", 0), (0, side.cuda_stream))
    assert repr(side) == f"<tilework.cuda.Stream device=cuda:0 cuda_stream={side.cuda_stream:#x}>"
    for wrong in (tw.cuda.set_stream, tw.cuda.stream, tw.cuda.Event().record, tw.cuda.Event().wait):
        with pytest.raises(TypeError, match=r"expected a tilework\.cuda\.Stream; got 3"):
            wrong(3)


class Noted:
    """A stream or an event that writes down what is asked of it."""

    ptr = 5

    def __init__(self, log):
        self.log = log

    def __getattr__(self, name):
        return lambda *given: self.log.append((name, *given))


def test_streams_wait_for_marks(served, monkeypatch):
    log = []
    monkeypatch.setattr(served, "stream", lambda priority: Noted(log))
    monkeypatch.setattr(served, "event", lambda timed: Noted(log))
    monkeypatch.setattr(served, "line", Noted(log))
    a, b, mark = tw.cuda.Stream(), tw.cuda.Stream(), tw.cuda.Event()
    assert a.record_event(mark) is mark
    b.wait_event(mark)
    mark.wait()
    a.wait_stream(b)
    mark.record()
    a.query()
    a.synchronize()
    asked = [(name, *given) for name, *given in log]
    assert [name for name, *_ in asked] == [
        "record", "wait", "wait", "record", "wait", "record", "query", "synchronize",
    ]  # fmt: skip
    assert asked[0][1] is a._stream
    assert asked[1][1] is mark._event
    assert asked[3][1] is b._stream
    assert asked[5][1] is None  # the provider's current one


def test_one_state_of_random_numbers(served):
    tw.manual_seed(3)
    state = tw.cuda.get_rng_state()
    assert state.is_cpu
    assert tw.equal(tw.cuda.get_rng_state_all()[0], tw.get_rng_state())
    wanted = tw.rand(5, device="cuda").tolist()
    tw.cuda.set_rng_state(state)
    assert tw.rand(5).tolist() == wanted
    tw.cuda.set_rng_state_all([state])
    assert tw.rand(5, device="cuda").tolist() == wanted
    tw.cuda.manual_seed(8)
    assert tw.cuda.initial_seed() == tw.initial_seed() == 8


def test_a_seed_counts_before_the_first_use_of_a_device(monkeypatch):
    monkeypatch.setattr(tw.cuda, "is_available", lambda: True)
    assert beside.provider is None
    tw.cuda.manual_seed(8)
    assert tw.initial_seed() == 8


def test_each_thread_goes_back_to_its_own_stream(served):
    side, failed = tw.cuda.Stream(), []
    inside, leave = threading.Event(), threading.Event()

    def other():
        with side:
            inside.set()
            leave.wait(10)
        failed.append(tw.cuda._before.streams)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    assert tw.cuda._before.streams == []
    leave.set()
    thread.join()
    assert failed == [[]]
