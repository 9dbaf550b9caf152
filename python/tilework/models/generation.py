"""Texts continued token by token: greedily, by drawing, or by beam search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.errors import error
from tilework.functional.common import operand
from tilework.models.sampling import Sampling, log_probabilities, penalised
from tilework.tensor import Tensor

Array = Any
Stop = int | Sequence[int] | None


class _Steps:
    """A model in use: the tokens so far in, the scores of the next one out.

    A model with `new_cache` is called with a cache and the new tokens alone, one with `encode` is
    asked to `decode` an answer to the prompt, any other is called with all tokens each time.
    """

    def __init__(self, model: Any, prompt: Array, use_cache: bool, device: Any) -> None:
        self._model = model
        self._memory: Tensor | None = None
        self._device = device
        self.start = prompt
        if hasattr(model, "encode"):
            with no_grad():
                self._memory = model.encode(F.from_numpy(prompt).to(self._device))
            first = model.config.decoder_start_token_id
            self.start = np.full((len(prompt), 1), first, np.int64)
        self._cache = model.new_cache() if use_cache and hasattr(model, "new_cache") else None

    def scores(self, ids: Array) -> Array:
        """Of the token after ids (N, T): (N, vocabulary), float64."""
        options: dict[str, Any] = {}
        if self._cache is not None:
            ids = ids[:, len(self._cache) :]
            options["cache"] = self._cache
        if hasattr(self._model, "new_cache"):
            options["logits_to_keep"] = 1
        given = F.from_numpy(np.ascontiguousarray(ids)).to(self._device)
        with no_grad():
            if self._memory is not None:
                found = self._model.decode(given, self._memory, **options)
            else:
                found = self._model(given, **options)
        return found[:, -1].detach().cpu().numpy().astype(np.float64)

    def reorder(self, rows: Array) -> None:
        """Goes on with row `rows[i]` as row i; all rows have one prompt."""
        if self._cache is not None:
            self._cache.reorder(F.from_numpy(rows).to(self._device))


def _prompt(op: str, input_ids: Any) -> Array:
    """Token ids (N, S) as an array of int64."""
    ids = operand(input_ids, op, "input_ids")
    if ids.ndim != 2 or not ids.shape[1]:
        raise error(
            ValueError, op, "input_ids (N, S), S from 1", ids.shape,
            "add an axis with ids.unsqueeze(0); begin with the model's first token",
        )  # fmt: skip
    if ids.is_floating_point() or ids.dtype == bool:
        raise error(TypeError, op, "input_ids of integers", ids.dtype, "convert with .long()")
    return ids.cpu().numpy().astype(np.int64)


def _stops(given: Stop) -> Array:
    return np.atleast_1d(np.asarray([] if given is None else given, np.int64))


def _count(max_new_tokens: int) -> int:
    if max_new_tokens < 1:
        raise error(ValueError, "generate", "max_new_tokens from 1", max_new_tokens, "raise it")
    return max_new_tokens


def _tokens(
    steps: _Steps, count: int, how: Sampling, stops: Array, padding: int = 0
) -> Iterator[Array]:
    """The next token of each row (N,), until all rows have stopped; those that have get padding."""
    ids, done = steps.start, np.zeros(len(steps.start), bool)
    for _ in range(count):
        chosen = how.choose(steps.scores(ids), ids)
        yield np.where(done, padding, chosen)
        done |= np.isin(chosen, stops)
        if done.all():
            return
        ids = np.concatenate([ids, chosen[:, None]], 1)


def stream(
    model: Any,
    input_ids: Tensor,
    *,
    max_new_tokens: int = 20,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    eos_token_id: Stop = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """The tokens that continue one prompt (1, S), each as soon as it is known; a stop token is the
    last. Arguments are generate's.

    >>> def counts(ids):  # a model of ten tokens, after each of which comes the next
    ...     return F.one_hot((ids + 1) % 10, 10).float()
    >>> list(stream(counts, tw.tensor([[3]]), eos_token_id=6))
    [4, 5, 6]
    """
    prompt = _prompt("stream", input_ids)
    if len(prompt) != 1:
        raise error(ValueError, "stream", "one prompt (1, S)", prompt.shape, "generate takes more")
    how = Sampling(do_sample, temperature, top_k, top_p, repetition_penalty)
    count, stops = _count(max_new_tokens), _stops(eos_token_id)
    steps = _Steps(model, prompt, use_cache, input_ids.device)
    return (int(chosen[0]) for chosen in _tokens(steps, count, how, stops))


def generate(
    model: Any,
    input_ids: Tensor,
    *,
    max_new_tokens: int = 20,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    eos_token_id: Stop = None,
    pad_token_id: int = 0,
    use_cache: bool = True,
) -> Tensor:
    """Token ids (N, S) with up to `max_new_tokens` more behind them; for an encoder and decoder,
    the answers to them. Rows that end early are filled up with `pad_token_id`.

    The likeliest token is taken, or with `do_sample` one is drawn by tilework's random numbers
    (manual_seed), after scores have been divided by `temperature` and all but the `top_k` best, and
    then all but the likeliest that sum to `top_p`, left out. `repetition_penalty` divides positive
    scores of tokens that are there already, and multiplies negative ones. A row ends with one of
    `eos_token_id`. With `num_beams` the best sequence of a beam search is given, by the sum of its
    tokens' log-probabilities over their number to the power of `length_penalty`.

    The model is a module of tilework.models in eval mode, or what takes ids (N, T) and gives scores
    (N, T, vocabulary). Prompts of one call have one length. ValueError on settings out of range.

    >>> def counts(ids):  # a model of ten tokens, after each of which comes the next
    ...     return F.one_hot((ids + 1) % 10, 10).float()
    >>> generate(counts, tw.tensor([[3], [5]]), max_new_tokens=3, eos_token_id=7)
    tensor([[3, 4, 5, 6],
            [5, 6, 7, 0]])
    """
    prompt = _prompt("generate", input_ids)
    how = Sampling(do_sample, temperature, top_k, top_p, repetition_penalty)
    count, stops = _count(max_new_tokens), _stops(eos_token_id)
    if num_beams < 1 or (num_beams > 1 and do_sample):
        raise error(
            ValueError, "generate", "num_beams from 1, and 1 beside do_sample=True", num_beams,
            "a search with several beams draws nothing",
        )  # fmt: skip
    if num_beams > 1:
        rows = [
            _beam_search(
                _Steps(model, np.repeat(row[None], num_beams, 0), use_cache, input_ids.device),
                num_beams, count, how.repetition_penalty, length_penalty, stops,
            )
            for row in prompt
        ]  # fmt: skip
        longest = max((len(row) for row in rows), default=prompt.shape[1])
        ids = np.full((len(rows), longest), pad_token_id, np.int64)
        for filled, row in zip(ids, rows, strict=True):
            filled[: len(row)] = row
        return F.from_numpy(ids).to(input_ids.device)
    steps = _Steps(model, prompt, use_cache, input_ids.device)
    new = (row[:, None] for row in _tokens(steps, count, how, stops, pad_token_id))
    return F.from_numpy(np.concatenate([steps.start, *new], 1)).to(input_ids.device)


def _beam_search(
    steps: _Steps, beams: int, count: int, penalty: float, length_penalty: float, stops: Array
) -> Array:
    """The best sequence (T,) that `beams` rows of one prompt lead to.

    Each step keeps the best `beams` continuations that have not ended; those that end among the
    best are put aside. It stops when none that goes on could still be better than all put aside.
    """
    ids = steps.start
    totals = np.full(beams, -np.inf)
    totals[0] = 0.0  # the rows are still one
    ended: list[tuple[float, Array]] = []
    for new in range(1, count + 1):
        found = penalised(log_probabilities(steps.scores(ids)), ids, penalty)
        sums = (totals[:, None] + found).reshape(-1)
        most = min((1 + len(stops)) * beams, len(sums))
        order = np.argsort(-sums, kind="stable")[:most]
        rows, tokens = np.divmod(order, found.shape[1])
        stopped = np.isin(tokens, stops)
        ended += [
            (sums[order[i]] / new**length_penalty, np.append(ids[rows[i]], tokens[i]))
            for i in np.flatnonzero(stopped[:beams])
        ]
        ended = sorted(ended, key=lambda pair: -pair[0])[:beams]
        going = np.flatnonzero(~stopped)[:beams]
        rows, totals = rows[going], sums[order[going]]
        ids = np.concatenate([ids[rows], tokens[going, None]], 1)
        if len(ended) == beams and ended[-1][0] >= totals[0] / new**length_penalty:
            break
        steps.reorder(rows)
    else:
        ended += [(t / count**length_penalty, row) for t, row in zip(totals, ids, strict=True)]
    best: Array = max(ended, key=lambda pair: pair[0])[1]
    return best
