"""Which cases a run times, and for how long each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from tilework.testing.case import Case

# The cases of `tilework bench` beside those of --quick: of each family what tells most about it and
# takes a call of a few hundredths of a second at most, the check of its answer included.
USUAL: frozenset[str] = frozenset((
    "gemm 256x256x256",
    "gemm 64x768x768",
    "gemm 512x512x512 NT",
    "gemm 256x256x256 bfloat16",
    "gemm 1024x1024x1024 bfloat16",
    "conv 3x3 64@56 N=1 forward",
    "conv 3x3 64@56 N=1 backward",
    "conv 3x3 256@14 N=1 frozen",
    "conv 3x3 512@7 N=1 forward",
    "conv 3x3 64@56 N=1 backward bfloat16",
    "conv 1x1 64->256@56 N=16 forward",
    "conv depthwise 3x3 96@56 N=16 forward",
    "conv depthwise 3x3 96@56 N=16 backward",
    "conv grouped 3x3 g32 128@28 N=16 forward",
    "conv transposed 16 s8 256->1@4000 N=1 forward",
    "max 3x3 s2 64@112 N=16 forward",
    "average 3x3 64@56 N=16 backward",
    "adaptive average 7x7 512@14 N=16 forward",
    "adaptive average 7x7 512@13 N=16 backward",
    "global average 512@7 N=16 forward",
    "nearest up 64@56 N=16 forward",
    "bilinear down 64@112 N=16 forward",
    "bilinear up 64@56 N=16 backward",
    "pixel_shuffle 256@56 by 2 N=16 forward",
    "pow 3 of 100000",
    "pow -0.5 of 100000 backward",
    "cumsum 100000",
    "sum 4096x3072 over 0",
    "sum 4096x3072 over 1",
    "log_softmax 4096x1024",
    "swiglu 4096x2048 backward",
    "layer_norm with residual 4096x768 backward",
    "attention, 1 query of 2048 keys, B=1",
    "varlen_attn, 5 sequences of 20 to 512 forward",
    "MultiheadAttention 768, 4x128 forward",
    "MultiheadAttention 768, 4x128 backward",
    "batch_norm 64@56 N=16 channels-last backward",
    "group_norm 64@56 N=16 backward",
    "layer_norm 4096x768",
    "rms_norm 4096x768 backward",
    "cross_entropy 64x10 backward",
    "cross_entropy 4096x1000 backward",
    "smooth_l1_loss 100000 backward",
    "ctc_loss T=200 B=32 C=40 backward",
    "clip_grad_norm_ 100000 in 10 tensors",
    "transposed copy 316x316",
    "transposed copy 2048x2048",
    "cat 100000 in 1000 chunks",
    "sort 100000",
    "topk 50 of 32 rows of 50257",
    "x[i] of 10000 rows of 10, backward",
    "embedding 4096 of 32000x768 backward",
    "ResNet-18 inference at 224, batch 1 frozen",
    "BERT-base layer inference, S=128",
))  # fmt: skip


def chosen(
    cases: Iterable[Case],
    how: str,
    having: Iterable[str] = (),
    without: Iterable[str] = (),
) -> list[Case]:
    """The cases of "quick", "usual" or "all"; of all, where names are asked for."""
    having, without = [t.lower() for t in having], [t.lower() for t in without]
    found = []
    for case in cases:
        assert case.bench is not None
        label = case.bench.label
        taken = how == "all" or case.bench.quick or (how == "usual" and label in USUAL)
        named = any(text in label.lower() for text in having) if having else taken
        if named and not any(text in label.lower() for text in without):
            found.append(case)
    return found


class Budget:
    """Shares `seconds` among `cases`: what a case takes beside its rounds is learnt on the way."""

    _BESIDES = 0.7  # a guess before the first case: inputs, reference, checks, the first calls

    def __init__(
        self, seconds: float, cases: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._start = clock()
        self._end = self._start + seconds
        self._left = cases
        self._done = 0
        self._given = 0.0

    def share(self) -> float | None:
        """Seconds for the rounds of the next case; None where there is no time for it."""
        now = self._clock()
        # The guess counts as one case.
        besides = (now - self._start - self._given + self._BESIDES) / (self._done + 1)
        if now >= self._end:
            return None
        seconds = max((self._end - now) / max(self._left, 1) - besides, 0.0)
        self._left -= 1
        self._done += 1
        self._given += seconds
        return seconds
