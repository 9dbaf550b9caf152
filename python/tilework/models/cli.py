"""`tilework generate`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="what to continue")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR|FILE.gguf",
        help="a folder with config.json, tokenizer.json and safetensors files, or a GGUF file",
    )  # fmt: skip
    parser.add_argument("--tokens", type=int, default=64, help="at most so many new ones")
    parser.add_argument("--sample", action="store_true", help="draw; default: take the likeliest")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0, help="draw from the k likeliest (0: all)")
    parser.add_argument("--top-p", type=float, default=1.0, help="from those that sum to p")
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--engine", choices=("native", "numba"), help="default: native if installed"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the text's continuation as it comes, and then the rate."""
    import tilework as tw
    from tilework import models
    from tilework.errors import error
    from tilework.models.text import Pieces, read_tokenizer

    if args.engine:
        tw.use_engine(args.engine)
    tokenizer, ends = read_tokenizer(args.model)
    model: Any = models.from_pretrained(args.model)
    if not hasattr(model, "new_cache"):
        raise error(
            ValueError,
            "generate",
            "a language model",
            type(model).__name__,
            "take GPT-2, LLaMA or T5",
        )
    tw.manual_seed(args.seed)
    prompt = tokenizer.encode(args.text).ids
    pieces = Pieces(tokenizer)
    if not hasattr(model, "encode"):
        _say(args.text)
        pieces = Pieces(tokenizer, prompt)
    times = [time.perf_counter()]
    for token in models.stream(
        model, tw.tensor([prompt], dtype=tw.int64), max_new_tokens=args.tokens,
        do_sample=args.sample, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p,
        repetition_penalty=args.repetition_penalty, eos_token_id=ends,
    ):  # fmt: skip
        times.append(time.perf_counter())
        if token not in ends:
            _say(pieces.add(token))
    _say(pieces.rest() + "\n")
    print(_rates(len(prompt), times), file=sys.stderr)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _rates(prompt: int, times: list[float]) -> str:
    """The prompt is what is read before the first token comes."""
    first = times[1] - times[0]
    said = [f"prompt: {prompt} tokens, {prompt / first:.1f} tokens/s"]
    new = len(times) - 2
    if new:
        said.append(f"continuation: {new + 1} tokens, {new / (times[-1] - times[1]):.1f} tokens/s")
    return "; ".join(said)
