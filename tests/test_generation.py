"""Texts continued: the sets that are kept, penalties, beams, draws, stops; `tilework generate`."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import io, models
from tilework.models.sampling import best_k, drawn, nucleus, penalised

CHANCES = np.array([[0.4, 0.1, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]])
SCORES = np.log(CHANCES) + 7.0


def kept(scores):
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in scores]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.01, [[0], [0]]),
        (0.39, [[0], [0, 1]]),
        (0.41, [[0, 2], [0, 1]]),
        (0.69, [[0, 2], [0, 1, 2]]),
        (0.85, [[0, 2, 3], [0, 1, 2, 3]]),
        (1.0, [[0, 1, 2, 3], [0, 1, 2, 3]]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_it(p, expected):
    assert kept(nucleus(SCORES, p)) == expected


def test_top_p_goes_by_scores_of_any_size():
    assert kept(nucleus(np.array([[0.0, 800.0, -np.inf]]), 0.999)) == [[1]]


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [[0], [0, 1, 2, 3]]),
        (2, [[0, 2], [0, 1, 2, 3]]),
        (0, [[0, 1, 2, 3]] * 2),
        (9, [[0, 1, 2, 3]] * 2),
    ],
)
def test_top_k_keeps_equals_of_the_last(k, expected):
    assert kept(best_k(SCORES, k)) == expected


def test_a_penalty_is_paid_once_a_token():
    scores = np.array([[2.0, -2.0, 3.0, 0.0]])
    found = penalised(scores, np.array([[0, 1, 1, 0, 3]]), 1.25)
    assert found.tolist() == [[1.6, -2.5, 3.0, 0.0]]
    assert scores.tolist() == [[2.0, -2.0, 3.0, 0.0]]


def test_draws_have_their_probabilities_and_repeat():
    tw.manual_seed(1)
    many = drawn(np.repeat(SCORES[:1], 4000, 0))
    found = np.bincount(many, minlength=4) / 4000
    # Five standard deviations of a share of 4,000 draws.
    limit = 5 * np.sqrt(CHANCES[0] * (1 - CHANCES[0]) / 4000)
    assert (np.abs(found - CHANCES[0]) < limit).all()
    tw.manual_seed(1)
    assert (drawn(np.repeat(SCORES[:1], 4000, 0)) == many).all()
    assert (drawn(np.repeat(SCORES[:1], 4000, 0)) != many).any()
    assert set(drawn(np.repeat(nucleus(SCORES[:1], 0.41), 500, 0))) == {0, 2}


class Table:
    """A model whose next token depends on the last one alone: chances by row."""

    def __init__(self, chances):
        self.scores = np.log(np.asarray(chances, np.float64))
        self.calls = []

    def __call__(self, ids):
        self.calls.append(ids.tolist())
        return tw.from_numpy(self.scores[ids.numpy()])


# From 0: 1 is likelier than 2, but leads nowhere good; 3 ends.
MAZE = [
    [1e-9, 0.6, 0.4, 1e-9],
    [0.3, 0.3, 0.1, 0.3],
    [1e-9, 1e-9, 0.05, 0.95],
    [0.25, 0.25, 0.25, 0.25],
]


def test_beam_search_finds_the_likelier_sequence():
    start = tw.tensor([[0]])
    how = {"max_new_tokens": 2, "eos_token_id": 3}
    assert models.generate(Table(MAZE), start, **how).tolist() == [[0, 1, 0]]  # 0.6 * 0.3
    assert models.generate(Table(MAZE), start, num_beams=2, **how).tolist() == [[0, 2, 3]]  # 0.38


def test_a_beam_as_wide_as_all_is_exhaustive():
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(4), 4)
    best, chance = None, 0.0
    for a in range(4):
        for b in range(4):
            for c in range(4):
                p = table[1, a] * table[a, b] * table[b, c]
                if p > chance:
                    best, chance = [1, a, b, c], p
    found = models.generate(Table(table), tw.tensor([[1]]), max_new_tokens=3, num_beams=16)
    assert found.tolist() == [best]


def test_length_penalty_prefers_long_or_short():
    table = [[0.05, 0.5, 0.45], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]]
    start, how = tw.tensor([[0]]), {"num_beams": 3, "eos_token_id": 2, "max_new_tokens": 4}
    short = models.generate(Table(table), start, length_penalty=0.0, **how)
    long = models.generate(Table(table), start, length_penalty=3.0, **how)
    assert short.tolist() == [[0, 2]]
    assert long.tolist() == [[0, 1, 1, 1, 1]]


def test_rows_stop_on_their_own():
    counts = Table(np.eye(6)[[1, 2, 3, 4, 5, 0]] + 1e-9)
    found = models.generate(
        counts, tw.tensor([[0], [2]]), max_new_tokens=9, eos_token_id=[3, 8], pad_token_id=9
    )
    assert found.tolist() == [[0, 1, 2, 3], [2, 3, 9, 9]]
    assert len(counts.calls) == 3
    assert list(models.stream(counts, tw.tensor([[0]]), max_new_tokens=2)) == [1, 2]


def test_a_stream_gives_each_token_before_the_next_is_computed():
    counts = Table(np.eye(4)[[1, 2, 3, 0]] + 1e-9)
    tokens = models.stream(counts, tw.tensor([[0, 1]]), eos_token_id=0)
    assert counts.calls == []
    assert next(tokens) == 2
    assert counts.calls == [[[0, 1]]]
    assert list(tokens) == [3, 0]


def test_a_penalty_breaks_a_loop():
    loop = Table([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    loop.scores = loop.scores + 3.0  # above 0, so that it divides
    once = models.generate(loop, tw.tensor([[0]]), max_new_tokens=2, repetition_penalty=2.0)
    assert once.tolist() == [[0, 1, 0]]  # 2.49/2 < 1.80; then 1.25 > 0.90 and 0.70


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize(
    "how", [{"do_sample": True, "top_k": 7, "temperature": 0.8}, {"num_beams": 3}]
)
def test_with_a_cache_as_without(kind, how):
    tw.manual_seed(0)
    make, config = {
        "gpt2": (models.GPT2LMHeadModel, models.GPT2Config(12, 40, 8, 2, 2)),
        "llama": (models.LlamaForCausalLM, models.LlamaConfig(12, 8, 12, 2, 2)),
        "t5": (models.T5ForConditionalGeneration, models.T5Config(12, 8, 4, 12, 1, None, 2)),
    }[kind]
    model = make(config).double().eval()
    for p in model.parameters():
        if p.ndim > 1:
            tw.nn.init.normal_(p, 0.0, 0.7)
    ids = tw.tensor([[1, 2, 3], [4, 5, 6]])
    found = []
    for use_cache in (True, False):
        tw.manual_seed(5)
        found.append(
            models.generate(
                model, ids, max_new_tokens=20, eos_token_id=11, use_cache=use_cache, **how
            )
        )
    assert found[0].tolist() == found[1].tolist()
    if kind != "t5":
        assert found[0][:, :3].tolist() == ids.tolist()


def test_settings_out_of_range_are_refused():
    model, ids = Table(MAZE), tw.tensor([[0]])
    for settings, name in (
        ({"temperature": 0.0}, "temperature above 0"),
        ({"top_k": -1}, "top_k from 0"),
        ({"top_p": 0.0}, "top_p in"),
        ({"top_p": 1.5}, "top_p in"),
        ({"repetition_penalty": 0.0}, "repetition_penalty above 0"),
        ({"max_new_tokens": 0}, "max_new_tokens from 1"),
        ({"num_beams": 0}, "num_beams from 1"),
        ({"num_beams": 2, "do_sample": True}, "num_beams from 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"[generate] expected {name}")):
            models.generate(model, ids, **settings)
    with pytest.raises(ValueError, match=r"input_ids \(N, S\), S from 1"):
        models.generate(model, tw.tensor([0]))
    with pytest.raises(TypeError, match="integers"):
        models.generate(model, tw.zeros(1, 2))
    with pytest.raises(ValueError, match=r"one prompt \(1, S\)"):
        models.stream(model, tw.tensor([[0], [1]]))


# --- `tilework generate` ---


def tilework(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tilework", "generate", *arguments],
        capture_output=True, text=True, env=os.environ, timeout=300,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A model of seven words, each of which is followed by the next."""
    tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    words = ["one", "two", "three", "four", "five", "six", "stop"]
    vocabulary = {w: i for i, w in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="stop"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"vocab_size": 7, "n_positions": 32, "n_embd": 8, "n_layer": 1, "n_head": 2,
                "tie_word_embeddings": False}  # fmt: skip
    model = models.GPT2LMHeadModel(models.GPT2Config(**settings))
    state = {name: tw.zeros(*value.shape) for name, value in model.state_dict().items()}
    state["transformer.wte.weight"] = tw.eye(8)[:7]
    state["transformer.ln_f.weight"] = tw.ones(8)
    state["lm_head.weight"] = 5.0 * tw.cat([tw.zeros(1, 8), tw.eye(8)[:6]])
    # As published: no prefix, and the mask among the weights.
    state = {name.removeprefix("transformer."): value for name, value in state.items()}
    io.save({**state, "h.0.attn.bias": tw.zeros(1, 1, 32, 32)}, tmp_path / "model.safetensors")
    config = {"model_type": "gpt2", "eos_token_id": 6, **settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_the_command_continues_a_text(folder):
    done = tilework("--model", str(folder), "one two")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "one two three four five six\n"
    rate = r"prompt: 2 tokens, [\d.]+ tokens/s; continuation: 5 tokens, [\d.]+ tokens/s\n"
    assert re.fullmatch(rate, done.stderr)
    again = tilework("--model", str(folder), "four", "--tokens", "1", "--sample", "--top-k", "1")
    assert again.stdout == "four five\n"


def test_the_command_says_what_is_missing(folder):
    done = tilework("--model", str(folder / "none"), "one")
    assert done.returncode == 2
    assert re.search(r"tilework: \[generate\] expected .*tokenizer.json", done.stderr)
    (folder / "tokenizer.json").rename(folder / "other.json")
    assert "tokenizer.json" in tilework("--model", str(folder), "one").stderr
    (folder / "other.json").rename(folder / "tokenizer.json")
    (folder / "config.json").write_text('{"model_type": "wombat"}')
    done = tilework("--model", str(folder), "one")
    assert done.returncode == 2
    assert "model_type of bert, gpt2, llama" in done.stderr


def test_a_missing_package_is_named(monkeypatch):
    from tilework.models.gguf import package

    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"package tokenizers.*pip install 'tilework\[text\]'"):
        package("tokenizers", "text")


def test_bytes_of_one_character_come_together():
    from tilework.models.text import Pieces

    class Bytes:
        def decode(self, tokens):
            return bytes(tokens).decode(errors="replace")

    pieces = Pieces(Bytes())
    said = [pieces.add(b) for b in "aé€b".encode()]
    assert said == ["a", "", "é", "", "", "€", "b"]
    assert pieces.add(0xC3) == ""
    assert pieces.rest() == "\ufffd"


# --- files ---


def test_weights_that_do_not_fit_are_refused(folder):
    state = io.load(folder / "model.safetensors")
    assert isinstance(models.from_pretrained(folder), models.GPT2LMHeadModel)
    io.save({n: v for n, v in state.items() if n != "ln_f.weight"}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: transformer.ln_f.weight"):
        models.from_pretrained(folder)
    io.save({**state, "h.0.more": tw.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"unexpected: h.0.more"):
        models.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors"):
        models.from_pretrained(folder)


def test_weights_in_parts_and_of_float16(folder):
    from safetensors.numpy import save_file

    state = {n: v.numpy() for n, v in io.load(folder / "model.safetensors").items()}
    names, where = sorted(state), {}
    for i, part in enumerate((names[:5], names[5:])):
        save_file({n: state[n].astype(np.float16) for n in part}, folder / f"part{i}.safetensors")
        where.update(dict.fromkeys(part, f"part{i}.safetensors"))
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    found = models.from_pretrained(folder).state_dict()
    assert F.equal(found["transformer.wte.weight"], tw.eye(8)[:7])
    assert found["transformer.wte.weight"].dtype == tw.float32


@pytest.mark.parametrize("first", [False, True])
def test_a_gguf_file_has_its_tokenizer(tmp_path, first):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    from tilework.models.text import read_tokenizer

    tokens = ["<|endoftext|>", "a", "b", "Ġ", "1", "2", "ab", "Ġab", "12"]
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * 8)
    writer.add_token_merges(["a b", "Ġ ab", "1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(first)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokenizer, ends = read_tokenizer(tmp_path / "small.gguf")
    assert ends == [0]
    ids = tokenizer.encode("ab ab12").ids
    assert ids == [0] * first + [6, 7, 4, 5]  # digits stand alone, merge or not
    assert tokenizer.decode(ids) == "ab ab12"


def test_a_gguf_file_is_read(tmp_path):
    """Weights of a small LLaMA, written as llama.cpp has them: the pairs of a head side by side."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    from tilework.models.gguf import _PARTS, _TOP

    tw.manual_seed(0)
    config = models.LlamaConfig(9, 16, 32, 1, 4, num_key_value_heads=2, tie_word_embeddings=True)
    model = models.LlamaForCausalLM(config).eval()
    file = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_token_list([f"t{i}" for i in range(9)])
    theirs = {v: k for k, v in _TOP.items()}
    theirs |= {f"model.layers.0.{v}.weight": f"blk.0.{k}.weight" for k, v in _PARTS.items()}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = value.numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = 4 if "q_proj" in name else 2
            array = np.stack(np.split(array.reshape(heads, 4, 16), 2, 1), 2).reshape(array.shape)
        writer.add_tensor(theirs[name], np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = models.from_pretrained(file)
    for name, value in model.state_dict().items():
        assert F.equal(found.state_dict()[name], value), name
