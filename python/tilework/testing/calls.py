"""One valid call of every public function, Tensor method, operator and layer, as data.

What is meant by a function's arguments is told once here: the fuzz of strange calls
(`testing/strange.py`) bends them; a test fails where a name is missing or a call does not run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tilework as tw
from tilework import functional as F
from tilework import nn


@dataclass(frozen=True)
class Made:
    """A tensor to be made: normal numbers of the call's dtype, chances in [0, 1), integers below
    `below`, bools, or ones for them."""

    shape: tuple[int, ...]
    kind: str = "float"
    below: int = 0

    def make(self, rng: np.random.Generator, dtype: str | None) -> Any:
        if self.kind == "bool":
            return tw.from_numpy(np.asarray(rng.integers(2, size=self.shape) > 0))
        if self.kind == "int":
            return tw.from_numpy(np.asarray(rng.integers(self.below, size=self.shape)))
        if self.kind == "ones":
            return tw.ones(*self.shape, dtype=tw.bool)
        if self.kind == "array":
            return rng.standard_normal(self.shape)
        if self.kind == "chance":
            return tw.tensor(np.asarray(rng.random(self.shape), np.float32))
        numbers = np.asarray(rng.standard_normal(self.shape), np.float32)
        made = tw.tensor(np.abs(numbers) if self.kind == "positive" else numbers)
        return made.to(getattr(tw, dtype)) if dtype else made


@dataclass(frozen=True)
class Call:
    """A function, its arguments by position, and others that may be given by name.

    `inputs`: for a layer, how many of the first arguments its forward gets; the rest make it.
    `floats`: whether float tensors may be of any float dtype, all of one.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    inputs: int = 0
    floats: bool = True


def f(*shape: int) -> Made:
    return Made(shape)


def i(below: int, *shape: int) -> Made:
    return Made(shape, "int", below)


def b(*shape: int) -> Made:
    return Made(shape, "bool")


X = f(3, 4)
REDUCED = {"dim": 1, "keepdim": True}
FILLED = {"dtype": tw.float64, "device": "cpu", "requires_grad": False}
LIKE = FILLED
LOSS = {"reduction": "sum"}
OVER = {"inplace": True}
POOLED = {"stride": 2, "padding": 1, "ceil_mode": True}
IMAGE, LINE = f(2, 4, 6, 6), f(2, 4, 8)

_UNARY = "abs ceil clone exp floor isfinite isinf isnan log logical_not neg relu relu_ "
_UNARY += "rsqrt sigmoid sign silu sqrt square t tanh sin cos tan asin acos atan sinh cosh log1p "
_UNARY += "expm1 exp2 log2 log10 reciprocal erf"
_BINARY = "eq floor_divide ge gt le logical_and logical_or logical_xor lt maximum minimum mul "
_BINARY += "ne pow remainder equal xlogy"
_LOGICAL = "all any amax amin max min argmax argmin"

CHANCES = Made((3, 4), "chance")
_LIKELIHOODS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "binary_cross_entropy": ((CHANCES, CHANCES), {"weight": f(4), **LOSS}),
    "gaussian_nll_loss": ((X, X, Made((3, 4), "positive")), {"full": True, "eps": 1e-3, **LOSS}),
    "kl_div": ((X, CHANCES), {**LOSS, "log_target": True}),
    "poisson_nll_loss": ((X, X), {"log_input": False, "full": True, "eps": 1e-3, **LOSS}),
    "cosine_embedding_loss": ((X, X, b(3)), {"margin": 0.1, **LOSS}),
    "hinge_embedding_loss": ((X, X), {"margin": 0.5, **LOSS}),
    "margin_ranking_loss": ((X, X, X), {"margin": 0.1, **LOSS}),
    "multi_margin_loss": ((X, i(4, 3)), {"p": 2, "margin": 0.5, "weight": f(4), **LOSS}),
    "multilabel_margin_loss": ((X, i(4, 3, 4)), LOSS),
    "multilabel_soft_margin_loss": ((X, CHANCES), {"weight": f(4), **LOSS}),
    "soft_margin_loss": ((X, X), LOSS),
    "triplet_margin_loss": ((X, X, X), {"margin": 0.5, "p": 1.0, "eps": 1e-3, "swap": True,
                                        **LOSS}),
    "triplet_margin_with_distance_loss": ((X, X, X), {"distance_function": None, "margin": 0.5,
                                                      "swap": True, **LOSS}),
}  # fmt: skip
_ACTIVATIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **dict.fromkeys(("logsigmoid", "softsign", "tanhshrink"), ((X,), {})),
    **dict.fromkeys(("hardsigmoid", "hardswish", "mish", "relu6", "selu"), ((X,), OVER)),
    **dict.fromkeys(("celu", "elu"), ((X,), {"alpha": 0.5, **OVER})),
    **dict.fromkeys(("hardshrink", "softshrink"), ((X,), {"lambd": 0.3})),
    **dict.fromkeys(("dropout1d", "dropout2d"), ((LINE,), {"p": 0.3, "training": True, **OVER})),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"),
                    ((LINE,), {"p": 0.3, "training": True, **OVER})),
    "dropout3d": ((f(2, 3, 2, 2, 2),), {"p": 0.3, "training": True, **OVER}),
    "gumbel_softmax": ((X,), {"tau": 0.5, "hard": True, "eps": 1e-3, "dim": 0}),
    "hardtanh": ((X,), {"min_val": -0.5, "max_val": 0.5, **OVER}),
    "leaky_relu": ((X,), {"negative_slope": 0.1, **OVER}),
    "prelu": ((LINE, f(4)), {}),
    "rrelu": ((X,), {"lower": 0.1, "upper": 0.2, "training": True, **OVER}),
    "softmin": ((X, 1), {"dtype": tw.float64}),
    "softplus": ((X,), {"beta": 2.0, "threshold": 10.0}),
    "threshold": ((X, 0.1, 0.5), OVER),
}  # fmt: skip
V4 = f(4)
_MORE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **dict.fromkeys(("argwhere", "fliplr", "flipud", "frac", "ravel", "trunc"), ((X,), {})),
    **dict.fromkeys(("atan2", "hypot", "logaddexp"), ((X, X), {})),
    **{f"bitwise_{name}": ((i(9, 3, 4), i(9, 3, 4)), {}) for name in ("and", "or", "xor")},
    **dict.fromkeys(("addcdiv", "addcmul"), ((X, X, X), {"value": 0.5})),
    **dict.fromkeys(("clamp_min", "clamp_max"), ((X, 0.5), {})),
    **dict.fromkeys(("hstack", "vstack", "dstack", "column_stack"), (([X, X],), {})),
    **dict.fromkeys(("std_mean", "var_mean"), ((X,), {**REDUCED, "correction": 1})),
    **dict.fromkeys(("tril_indices", "triu_indices"), ((3, 4), {"offset": 1, "dtype": tw.int32})),
    **dict.fromkeys(("nansum", "nanmean"), ((X,), {**REDUCED, "dtype": tw.float64})),
    "addmm": ((f(3, 5), X, f(4, 5)), {"beta": 0.5, "alpha": 2}),
    "addmv": ((f(3), X, V4), {"beta": 0.5, "alpha": 2}),
    "baddbmm": ((f(2, 3, 5), f(2, 3, 4), f(2, 4, 5)), {"beta": 0.5, "alpha": 2}),
    "bincount": ((i(5, 7),), {"weights": f(7), "minlength": 9}),
    "block_diag": ((X, V4), {}),
    "broadcast_tensors": ((X, V4), {}),
    "bucketize": ((X, V4), {"out_int32": True, "right": True}),
    "cartesian_prod": ((V4, V4), {}),
    "combinations": ((V4,), {"r": 3, "with_replacement": True}),
    "count_nonzero": ((X,), {"dim": 1}),
    "cumprod": ((X, 1), {"dtype": tw.float64}),
    "diag": ((V4,), {"diagonal": 1}),
    "diag_embed": ((X, 1, 0, 1), {}),
    "diagonal": ((X, 1, 1, 0), {}),
    "diff": ((X,), {"n": 2, "dim": 0, "prepend": X, "append": X}),
    "dot": ((V4, V4), {}),
    "einsum": (("ij,kj->ik", X, X), {}),
    "histc": ((X,), {"bins": 5, "min": -1, "max": 1}),
    "isin": ((i(5, 3), i(5, 2)), {"invert": True}),
    "kthvalue": ((X, 2), {"dim": 0, "keepdim": True}),
    "lerp": ((X, X, 0.25), {}),
    "median": ((X,), REDUCED),
    "meshgrid": ((V4, V4), {"indexing": "xy"}),
    "mv": ((X, V4), {}),
    "nan_to_num": ((X,), {"nan": 1.0, "posinf": 2.0, "neginf": 3.0}),
    "prod": ((X,), {**REDUCED, "dtype": tw.float64}),
    "quantile": ((X, 0.5), {**REDUCED, "interpolation": "lower"}),
    "roll": ((X, 1), {"dims": 1}),
    "rot90": ((X,), {"k": 3, "dims": (1, 0)}),
    "searchsorted": ((V4, X), {"out_int32": True, "right": True, "side": "right",
                               "sorter": i(4, 4)}),
    "select": ((X, 1, 2), {}),
    "tensor_split": ((X, 2), {"dim": 1}),
    "tensordot": ((X, f(4, 5), 1), {}),
    "trapezoid": ((X,), {"x": V4, "dim": 1}),
    "unique": ((i(5, 9),), {"sorted": False, "return_inverse": True, "return_counts": True,
                            "dim": 0}),
    "unique_consecutive": ((i(3, 9),), {"return_inverse": True, "return_counts": True}),
}  # fmt: skip
_LENGTHS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "cdist": ((X, f(5, 4)), {"p": 1.0, "compute_mode": "use_mm_for_euclid_dist"}),
    "cosine_similarity": ((X, X), {"dim": 0, "eps": 1e-3}),
    "dist": ((X, X), {"p": 1.0}),
    "norm": ((X,), {"p": 1.0, **REDUCED, "dtype": tw.float64}),
    "normalize": ((X,), {"p": 1.0, "dim": 0, "eps": 1e-3}),
    "pairwise_distance": ((X, X), {"p": 1.0, "eps": 1e-3, "keepdim": True}),
}

_TAGGED = (f(4, 4), f(4), f(4))
_SPEECH = (f(5, 2, 4), i(4, 2, 3), i(5, 2), i(3, 2))
_SEQUENCES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "crf_decode": ((f(2, 3, 4), *_TAGGED), {"mask": Made((2, 3), "ones")}),
    "crf_log_likelihood": ((f(2, 3, 4), i(4, 2, 3), *_TAGGED), {"mask": Made((2, 3), "ones")}),
    "ctc_beam_search_decode": ((f(5, 2, 4),),
                               {"lengths": i(5, 2), "beam_width": 3, "blank": 1}),
    "ctc_greedy_decode": ((f(5, 2, 4),), {"lengths": i(5, 2), "blank": 1}),
    "ctc_loss": (_SPEECH, {"blank": 1, **LOSS, "zero_infinity": True}),
}  # fmt: skip

_F: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **{name: ((X,), {}) for name in _UNARY.split()},
    **{name: ((X, X), {}) for name in _BINARY.split()},
    **dict.fromkeys(_LOGICAL.split(), ((X,), REDUCED)),
    **{name: ((X,), {**REDUCED, "dtype": tw.float64}) for name in ("sum", "mean")},
    **{name: ((X,), {**REDUCED, "unbiased": False, "correction": 1}) for name in ("std", "var")},
    **{name: ((X, X), {"alpha": 2}) for name in ("add", "sub")},
    **{name: ((2, 3), {**FILLED}) for name in ("zeros", "ones", "empty", "rand", "randn")},
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like"),
                    ((X,), LIKE)),
    **{name: (([X, X],), {"dim": 1}) for name in ("concat", "concatenate")},
    **{name: ((LINE, 2), {}) for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d")},
    **{name: ((IMAGE, (2, 3)), {}) for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d")},
    **{name: ((X, 1), {"dtype": tw.float64}) for name in ("softmax", "log_softmax")},
    **{name: ((X, X), {"rtol": 1e-3, "atol": 1e-3, "equal_nan": True})
       for name in ("isclose", "allclose")},
    **dict.fromkeys(("l1_loss", "mse_loss"), ((X, X), LOSS)),
    "arange": ((0, 9, 2), FILLED),
    "argsort": ((X,), {"dim": 0, "descending": True, "stable": True}),
    "as_tensor": (([1.0, 2.0],), {"dtype": tw.float64, "device": "cpu"}),
    "avg_pool1d": ((LINE, 2), {**POOLED, "count_include_pad": False}),
    "avg_pool2d": ((IMAGE, (2, 2)), {**POOLED, "count_include_pad": False, "divisor_override": 3}),
    "batch_norm": ((IMAGE, f(4), Made((4,), "positive"), f(4), f(4)),
                   {"training": True, "momentum": 0.2, "eps": 1e-3, "activation": "relu"}),
    "bernoulli": ((f(0, 3),), {}),
    "bias_activation": ((X, f(4)), {"activation": "gelu"}),
    "binary_cross_entropy_with_logits": ((X, X), {"weight": f(4), **LOSS, "pos_weight": f(4)}),
    "bilinear": ((X, X, f(5, 4, 4), f(5)), {}),
    "channel_shuffle": ((IMAGE, 2), {}),
    "bmm": ((f(2, 3, 4), f(2, 4, 5)), {}),
    "broadcast_to": ((f(1, 4), (3, 4)), {}),
    "cat": (([X, X],), {"dim": 1}),
    "chunk": ((X, 2), {"dim": 1}),
    **dict.fromkeys(("clamp", "clip"), ((X, -1.0, 1.0), {})),
    "multiply": ((X, X), {}),
    "subtract": ((X, X), {"alpha": 2}),
    **dict.fromkeys(("divide", "true_divide"), ((X, X), {"rounding_mode": "floor"})),
    "conv1d": ((LINE, f(6, 4, 3), f(6)),
               {"stride": 2, "padding": 1, "dilation": 2, "groups": 1, "activation": "relu"}),
    "conv2d": ((IMAGE, f(6, 4, 3, 3), f(6)),
               {"stride": 2, "padding": (1, 1), "dilation": 2, "groups": 1, "activation": "relu"}),
    "conv_transpose1d": ((LINE, f(4, 6, 3), f(6)),
                         {"stride": 2, "padding": 1, "output_padding": 0, "groups": 1,
                          "dilation": 1}),
    "conv_transpose2d": ((IMAGE, f(4, 6, 3, 3), f(6)),
                         {"stride": (2, 2), "padding": 1, "output_padding": 0, "groups": 1,
                          "dilation": 1}),
    "cross_entropy": ((X, i(4, 3)),
                      {"weight": f(4), "ignore_index": 1, **LOSS, "label_smoothing": 0.1}),
    **_SEQUENCES,
    **_LIKELIHOODS,
    **_ACTIVATIONS,
    **_MORE,
    **_LENGTHS,
    "cumsum": ((X, 1), {"dtype": tw.float64}),
    "div": ((X, X), {"rounding_mode": "floor"}),
    "nonzero": ((X,), {"as_tuple": True}),
    "round": ((X,), {"decimals": 1}),
    "dropout": ((X,), {"p": 0.3, "training": True, "inplace": False}),
    "embedding": ((i(5, 2, 3), f(5, 4)),
                  {"padding_idx": 1, "max_norm": 1.0, "norm_type": 1.0, "scale_grad_by_freq": True,
                   "sparse": False}),
    "embedding_bag": ((i(5, 6), f(5, 4), i(1, 1), 1.0, 1.0, True, "sum"),
                      {"sparse": False, "per_sample_weights": f(6), "include_last_offset": False,
                       "padding_idx": 1}),
    "expand": ((f(1, 4), 3, 4), {}),
    "eye": ((3, 4), FILLED),
    "flatten": ((IMAGE,), {"start_dim": 1, "end_dim": 2}),
    "fold": ((f(2, 16, 9), (4, 4), (2, 2)), {"dilation": 1, "padding": 0, "stride": 1}),
    "flip": ((X, (0, 1)), {}),
    "multinomial": ((Made((2, 3), "positive"), 2), {"replacement": True}),
    "outer": ((f(3), f(4)), {}),
    "repeat_interleave": ((X, i(3, 3), 0), {}),
    "tile": ((X, (2, 1)), {}),
    "tril": ((X,), {"diagonal": -1}),
    "triu": ((X,), {"diagonal": 1}),
    "from_dlpack": ((Made((3,), "array"),), {}),
    "from_numpy": ((Made((3,), "array"),), {}),
    "full": (((2, 3), 1.5), FILLED),
    "full_like": ((X, 1.5), LIKE),
    "gather": ((X, 1, i(4, 3, 2)), {}),
    "gelu": ((X,), {"approximate": "tanh"}),
    "get_rng_state": ((), {}),
    "geglu": ((X, X, 1), {"approximate": "tanh"}),
    "glu": ((X, 1), {}),
    "swiglu": ((X, X, 1), {}),
    "local_response_norm": ((IMAGE, 3), {"alpha": 0.1, "beta": 0.5, "k": 2.0}),
    "group_norm": ((IMAGE, 2), {"weight": f(4), "bias": f(4), "eps": 1e-3}),
    "huber_loss": ((X, X), {**LOSS, "delta": 0.5}),
    "index_add": ((X, 1, i(4, 2), f(3, 2)), {"alpha": 2}),
    "index_copy": ((X, 1, i(4, 2), f(3, 2)), {}),
    "index_fill": ((X, 1, i(4, 2), 0.5), {}),
    "index_select": ((X, 1, i(4, 3)), {}),
    "scatter": ((X, 1, i(4, 3, 2), f(3, 2)), {"reduce": "add"}),
    "scatter_add": ((X, 1, i(4, 3, 2), f(3, 2)), {}),
    "scatter_reduce": ((X, 1, i(4, 3, 2), f(3, 2), "amax"), {"include_self": False}),
    "take": ((X, i(12, 3)), {}),
    "take_along_dim": ((X, i(4, 3, 2), 1), {}),
    "initial_seed": ((), {}),
    "instance_norm": ((IMAGE,), {"weight": f(4), "bias": f(4), "use_input_stats": True,
                                 "momentum": 0.2, "eps": 1e-3}),
    "interpolate": ((IMAGE, (3, 4)), {"scale_factor": None, "mode": "nearest",
                               "align_corners": None}),
    "layer_norm": ((X, (4,)), {"weight": f(4), "bias": f(4), "eps": 1e-3, "residual": X}),
    "linear": ((X, f(5, 4), f(5)), {"activation": "relu", "residual": f(3, 5)}),
    "linspace": ((0.0, 1.0, 5), FILLED),
    "logsumexp": ((X, 1), {"keepdim": True}),
    "manual_seed": ((3,), {}),
    "masked_fill": ((X, b(3, 4), 0.5), {}),
    "masked_scatter": ((X, b(3, 4), f(12)), {}),
    "masked_select": ((X, b(3, 4)), {}),
    "matmul": ((X, f(4, 5)), {}),
    "max_pool1d": ((LINE, 2), {**POOLED, "dilation": 1, "return_indices": True}),
    "max_pool2d": ((IMAGE, (2, 2)), {**POOLED, "dilation": 1, "return_indices": True}),
    "max_unpool2d": ((f(2, 4, 3, 3), i(30, 2, 4, 3, 3), 2),
                     {"stride": 2, "padding": 0, "output_size": (6, 6)}),
    "mm": ((X, f(4, 5)), {}),
    "movedim": ((IMAGE, 1, 3), {}),
    "narrow": ((X, 1, 1, 2), {}),
    "nll_loss": ((X, i(4, 3)), {"weight": f(4), "ignore_index": 1, **LOSS}),
    "normal": ((0.0, 1.0, (2, 3)), FILLED),
    "one_hot": ((i(4, 3),), {"num_classes": 5}),
    "pad": ((X, (1, 2)), {"mode": "constant", "value": 0.5}),
    "permute": ((IMAGE, 0, 2, 3, 1), {}),
    "pixel_shuffle": ((IMAGE, 2), {}),
    "pixel_unshuffle": ((IMAGE, 2), {}),
    "randint": ((1, 9, (2, 3)), {"dtype": tw.int32, "device": "cpu", "requires_grad": False}),
    "random_seed": ((), {}),
    "randperm": ((5,), {"dtype": tw.int32, "device": "cpu"}),
    "reshape": ((X, 2, 6), {}),
    **{name: ((f(5, 2, 4), f(1, 2, 3), [f(rows, 4), f(rows, 3), f(rows), f(rows)], True, 1, 0.0,
               False, False, False), {"batch_sizes": None, **more})
       for name, rows, more in (("gru", 9, {"reset_after": False}), ("rnn_relu", 3, {}),
                                ("rnn_tanh", 3, {}))},
    "lstm": ((f(5, 2, 4), [f(1, 2, 3), f(1, 2, 3)], [f(12, 4), f(12, 3), f(12), f(12)], True, 1,
              0.0, False, False, False), {"batch_sizes": None, "peepholes": f(9)}),
    **{f"{name}_cell": ((X, f(3, 3), f(rows, 4), f(rows, 3)), {"b_ih": f(rows), "b_hh": f(rows)})
       for name, rows in (("gru", 9), ("rnn_relu", 3), ("rnn_tanh", 3))},
    "lstm_cell": ((X, [f(3, 3), f(3, 3)], f(12, 4), f(12, 3)), {"b_ih": f(12), "b_hh": f(12)}),
    "rms_norm": ((X, (4,)), {"weight": f(4), "eps": 1e-3, "residual": X}),
    "rotary_embedding": ((f(2, 3, 4), f(3, 2), f(3, 2)),
                         {"position_ids": i(3, 3), "interleaved": True}),
    "scaled_dot_product_attention": (
        (f(2, 2, 3, 4), f(2, 2, 5, 4), f(2, 2, 5, 6)),
        {"attn_mask": b(3, 5), "dropout_p": 0.1, "is_causal": False, "scale": 0.5,
         "enable_gqa": True, "causal_alignment": "bottom_right", "window": (2, -1), "softcap": 2.0,
         "alibi_slopes": f(2)}),
    **{f"segment_{kind}": ((X, i(2, 3), 2), {}) for kind in ("max", "mean", "softmax", "sum")},
    "set_rng_state": ((i(9, 2),), {}),
    "smooth_l1_loss": ((X, X), {**LOSS, "beta": 0.5}),
    "sort": ((X,), {"dim": 0, "descending": True, "stable": True}),
    "split": ((X, 2), {"dim": 1}),
    "squeeze": ((f(1, 4),), {"dim": 0}),
    "stack": (([X, X],), {"dim": 1}),
    "tensor": (([[1.0, 2.0]],), FILLED),
    "topk": ((X, 2), {"dim": 0, "largest": False, "sorted": True}),
    "transpose": ((X, 0, 1), {}),
    "unbind": ((X,), {"dim": 1}),
    "unflatten": ((X, 1, (2, 2)), {}),
    "unfold": ((IMAGE, (2, 2)), {"dilation": 1, "padding": 1, "stride": 2}),
    "unsqueeze": ((X, 1), {}),
    "varlen_attn": (
        (f(3, 2, 4), f(5, 2, 4), f(5, 2, 6), i(1, 3), i(1, 3), 3, 5),
        {"scale": 0.5, "window_size": (2, -1), "enable_gqa": True, "softcap": 2.0,
         "alibi_slopes": f(2)}),
    "where": ((b(3, 4), X, 0.5), {}),
}  # fmt: skip

# Methods that are no functions too, with what follows the tensor itself.
_METHODS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **{name: ((X,), {}) for name in ("dim", "numel", "nelement", "ndimension", "long", "int",
                                     "element_size", "is_contiguous", "is_floating_point",
                                     "tolist", "numpy", "detach", "float",
                                     "double", "bfloat16", "bool", "contiguous", "zero_", "cpu",
                                     "get_device", "is_pinned")},
    **{name: ((X,), {"dim": 1}) for name in ("size", "stride")},
    "repeat": ((X, 2, 1, 3), {}),
    "type": ((X, tw.float64), {}),
    "unfold": ((X, 1, 2, 1), {}),
    "fill_diagonal_": ((X, 2.0), {"wrap": True}),
    **{name: ((X, X), {}) for name in ("type_as", "multiply",
                                       "copy_", "view_as", "reshape_as", "expand_as")},
    **{name: ((X, X), {"alpha": 2}) for name in ("subtract",)},
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty"), ((X, 2, 3), FILLED)),
    **{name: ((X, X), {"rounding_mode": "floor"}) for name in ("divide", "true_divide")},
    **{name: ((X, -1.0, 1.0), {}) for name in ("clip",)},
    "index_put_": ((X, [i(3, 2), i(4, 2)], f(2)), {"accumulate": True}),
    "item": ((f(1),), {}),
    "requires_grad_": ((X,), {"requires_grad": True}),
    "to": ((X, "float64"), {"dtype": tw.float32, "device": "cpu"}),
    "new_full": ((X, (2, 3), 1.5), FILLED),
    "new_tensor": ((X, [1.0]), FILLED),
    **{f"clamp_{which}_": ((X, 0.5), {}) for which in ("min", "max")},
    "fill_": ((X, 0.5), {}),
    "uniform_": ((X,), {"low": -1.0, "high": 2.0}),
    "normal_": ((X,), {"mean": 1.0, "std": 2.0}),
    "view": ((X, 2, 6), {}),
    "swapaxes": ((X, 0, 1), {}),
    "sum_to_size": ((X, 1, 4), {}),
}  # fmt: skip


def _on_tensor(function: Callable[..., Any]) -> Callable[..., Any]:
    """Called on a tensor whatever becomes of its other arguments: a stranger has other methods."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        x = self if isinstance(self, tw.Tensor) else tw.ones(3, 4)
        return function(x, *args, **options)

    return call


def _method(name: str) -> Callable[..., Any]:
    return _on_tensor(getattr(tw.Tensor, name))


def _operator(name: str) -> Callable[..., Any]:
    return _on_tensor(getattr(operator, name))


@_on_tensor
def _backward(x: Any, gradient: Any, retain_graph: Any) -> None:
    (x.detach().float().requires_grad_() * 2).backward(gradient, retain_graph)


def _with(table: dict[str, Any], find: Callable[[str], Callable[..., Any]]) -> dict[str, Call]:
    return {name: Call(find(name), *given) for name, given in table.items()}


FUNCTIONS: dict[str, Call] = _with(_F, lambda name: getattr(F, name))
METHODS: dict[str, Call] = {
    **_with(
        {n: g for n, g in _F.items() if hasattr(tw.Tensor, n)}, _method
    ),
    **_with(_METHODS, _method),
    **_with({f"{n}_": _F[n] for n in _F if f"{n}_" not in _METHODS and hasattr(tw.Tensor, f"{n}_")},
            _method),
    **_with({f"{n}_": _METHODS[n] for n in ("subtract", "multiply", "divide", "true_divide",
                                              "clip")}, _method),
    "where": Call(_method("where"), (X, b(3, 4), X)),
    "backward": Call(_backward, (X, X, False)),
}  # fmt: skip
# These need a result of the tape and take nothing that could be bent, or what is called; the others
# refuse where there is no device.
UNBENT = frozenset({"retain_grad", "register_hook", "register_post_accumulate_grad_hook", "cuda",
                    "pin_memory"})  # fmt: skip

_AT: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "getitem": ((X, (0, slice(1, 3))), {}),
    "contains": ((X, 0.5), {}),
}
_BY = "lt le gt ge eq ne add sub mul truediv mod floordiv pow iadd isub imul itruediv"
_BITS = "and_ or_ xor"
OPERATORS: dict[str, Call] = {
    **_with(_AT, _operator),
    **_with(dict.fromkeys(_BY.split(), ((X, X), {})), _operator),
    **_with(dict.fromkeys(_BITS.split(), ((b(3, 4), b(3, 4)), {})), _operator),
    "matmul": Call(_operator("matmul"), (X, f(4, 5))),
    "setitem": Call(_operator("setitem"), (X, (0, slice(1, 3)), 0.5)),
}

_FLAT, _PADS1, _PADS2 = f(3, 4), (1, 2), (1, 2, 0, 1)
_LOSSES = dict.fromkeys(("L1Loss", "MSELoss"), ((X, X), 2, LOSS))
_NORM = {"eps": 1e-3, "momentum": 0.2, "affine": True, "track_running_stats": True}
_CONV = {"stride": 2, "padding": 1, "dilation": 1, "groups": 1, "bias": False}
_TRANSFORMER = {"dropout": 0.1, "activation": "gelu", "layer_norm_eps": 1e-3, "batch_first": True,
                "norm_first": True, "bias": True}  # fmt: skip
# The layer: forward's inputs with the constructor's arguments after them, how many are inputs, and
# the constructor's options.
_L: dict[str, tuple[tuple[Any, ...], int, dict[str, Any]]] = {
    **_LOSSES,
    **{name: ((X,), 1, {}) for name in ("Identity", "Sigmoid", "Tanh")},
    **{name: ((X,), 1, {"inplace": True}) for name in ("ReLU", "SiLU")},
    **{name: ((X, 1), 1, {}) for name in ("LogSoftmax", "Softmax", "GLU", "SwiGLU")},
    "GEGLU": ((X, 1), 1, {"approximate": "tanh"}),
    **{f"{kind}Pad1d": ((LINE, _PADS1), 1, {})
       for kind in ("Circular", "Reflection", "Replication", "Zero")},
    **{f"{kind}Pad2d": ((IMAGE, _PADS2), 1, {})
       for kind in ("Circular", "Reflection", "Replication", "Zero")},
    "ConstantPad1d": ((LINE, _PADS1, 0.5), 1, {}),
    "ConstantPad2d": ((IMAGE, _PADS2, 0.5), 1, {}),
    **{f"Adaptive{kind}Pool1d": ((LINE, 2), 1, {}) for kind in ("Avg", "Max")},
    **{f"Adaptive{kind}Pool2d": ((IMAGE, (2, None)), 1, {}) for kind in ("Avg", "Max")},
    "AvgPool1d": ((LINE, 2), 1, {**POOLED, "count_include_pad": False}),
    "AvgPool2d": ((IMAGE, 2), 1, {**POOLED, "divisor_override": 3}),
    "BCEWithLogitsLoss": ((X, X), 2, {"weight": f(4), **LOSS, "pos_weight": f(4)}),
    "BatchNorm1d": ((LINE, 4), 1, _NORM),
    "BatchNorm2d": ((IMAGE, 4), 1, _NORM),
    "Conv1d": ((LINE, 4, 6, 3), 1, {**_CONV, "padding_mode": "reflect"}),
    "Conv2d": ((IMAGE, 4, 6, (3, 3)), 1, {**_CONV, "padding_mode": "reflect"}),
    "ConvTranspose1d": ((LINE, 4, 6, 3), 1, {**_CONV, "output_padding": 0}),
    "ConvTranspose2d": ((IMAGE, 4, 6, (3, 3)), 1, {**_CONV, "output_padding": 0}),
    "CRF": ((f(3, 2, 4), i(4, 3, 2), 4), 2, {"batch_first": True}),
    "CTCLoss": (_SPEECH, 4, {"blank": 1, **LOSS, "zero_infinity": True}),
    "ConvLSTM": ((f(3, 2, 4, 5, 6), 4, 2, 3), 1,
                 {"num_layers": 2, "bias": False, "batch_first": True}),
    "ConvLSTMCell": ((IMAGE, 4, 2, (3, 3)), 1, {"bias": False}),
    "CrossEntropyLoss": ((X, i(4, 3)), 2, {"weight": f(4), "ignore_index": 1, **LOSS,
                                           "label_smoothing": 0.1}),
    "Dropout": ((X,), 1, {"p": 0.3, "inplace": False}),
    "Embedding": ((i(5, 2, 3), 5, 4), 1, {"padding_idx": 1, "max_norm": 1.0, "norm_type": 1.0,
                                          "scale_grad_by_freq": True, "sparse": False}),
    "EmbeddingBag": ((i(5, 2, 3), 5, 4), 1, {"max_norm": 1.0, "norm_type": 1.0, "mode": "sum",
                                             "scale_grad_by_freq": True, "sparse": False,
                                             "include_last_offset": False, "padding_idx": 1}),
    "MultiheadAttention": ((X, X, X, 4, 2), 3,
                           {"dropout": 0.1, "bias": True, "add_bias_kv": True,
                            "add_zero_attn": True, "kdim": 4, "vdim": 4, "batch_first": True}),
    "TransformerDecoderLayer": ((X, X, 4, 2, 8), 2, _TRANSFORMER),
    "TransformerEncoderLayer": ((X, 4, 2, 8), 1, _TRANSFORMER),
    **{name: ((f(5, 2, 4), 4, 3), 1, {"num_layers": 2, "bias": False, "batch_first": True,
                                      "dropout": 0.1, "bidirectional": True, **more})
       for name, more in (("GRU", {}), ("LSTM", {"proj_size": 2}), ("RNN", {}))},
    **{f"{name}Cell": ((X, 4, 3), 1, {"bias": False}) for name in ("GRU", "LSTM", "RNN")},
    "Flatten": ((IMAGE,), 1, {"start_dim": 1, "end_dim": 2}),
    "Fold": ((f(2, 16, 9), (4, 4), (2, 2)), 1, {"dilation": 1, "padding": 0, "stride": 1}),
    "GELU": ((X,), 1, {"approximate": "tanh"}),
    "LocalResponseNorm": ((IMAGE, 3), 1, {"alpha": 0.1, "beta": 0.5, "k": 2.0}),
    "GroupNorm": ((IMAGE, 2, 4), 1, {"eps": 1e-3, "affine": True, "bias": False}),
    "HuberLoss": ((X, X), 2, {**LOSS, "delta": 0.5}),
    "InstanceNorm1d": ((LINE, 4), 1, _NORM),
    "InstanceNorm2d": ((IMAGE, 4), 1, _NORM),
    "LayerNorm": ((X, (4,)), 1, {"eps": 1e-3, "elementwise_affine": True, "bias": False}),
    "Linear": ((X, 4, 5), 1, {"bias": False, "dtype": tw.float32}),
    "MaxPool1d": ((LINE, 2), 1, {**POOLED, "dilation": 1, "return_indices": True}),
    "MaxPool2d": ((IMAGE, 2), 1, {**POOLED, "dilation": 1, "return_indices": True}),
    "MaxUnpool2d": ((f(2, 4, 3, 3), i(30, 2, 4, 3, 3), 2), 2, {"stride": 2, "padding": 0}),
    "NLLLoss": ((X, i(4, 3)), 2, {"weight": f(4), "ignore_index": 1, **LOSS}),
    "PixelShuffle": ((IMAGE, 2), 1, {}),
    "PixelUnshuffle": ((IMAGE, 2), 1, {}),
    "RMSNorm": ((X, (4,)), 1, {"eps": 1e-3, "elementwise_affine": True}),
    "SmoothL1Loss": ((X, X), 2, {**LOSS, "beta": 0.5}),
    "Unflatten": ((X, 1, (2, 2)), 1, {}),
    "Unfold": ((IMAGE, (2, 2)), 1, {"dilation": 1, "padding": 1, "stride": 2}),
    "Upsample": ((IMAGE, (3, 4)), 1, {"mode": "nearest"}),
}  # fmt: skip
_L.update({
    **{name: ((X,), 1, {}) for name in ("LogSigmoid", "Softsign", "Tanhshrink")},
    **dict.fromkeys(("Hardsigmoid", "Hardswish", "Mish", "ReLU6", "SELU"), ((X,), 1, OVER)),
    **{name: ((X,), 1, {"alpha": 0.5, **OVER}) for name in ("CELU", "ELU")},
    **{name: ((X,), 1, {"lambd": 0.3}) for name in ("Hardshrink", "Softshrink")},
    **{name: ((LINE,), 1, {"p": 0.3, **OVER})
       for name in ("AlphaDropout", "Dropout1d", "Dropout2d", "FeatureAlphaDropout")},
    "Bilinear": ((X, X, 4, 4, 5), 2, {"bias": False}),
    "ChannelShuffle": ((IMAGE, 2), 1, {}),
    **{f"Upsampling{kind}2d": ((IMAGE, (3, 4)), 1, {}) for kind in ("Bilinear", "Nearest")},
    "Dropout3d": ((f(2, 3, 2, 2, 2),), 1, {"p": 0.3, **OVER}),
    "Hardtanh": ((X,), 1, {"min_val": -0.5, "max_val": 0.5, **OVER}),
    "LeakyReLU": ((X,), 1, {"negative_slope": 0.1, **OVER}),
    "PReLU": ((LINE, 4), 1, {"init": 0.1, "dtype": tw.float32}),
    "RReLU": ((X,), 1, {"lower": 0.1, "upper": 0.2, **OVER}),
    "Softmax2d": ((IMAGE,), 1, {}),
    "Softmin": ((X, 1), 1, {}),
    "Softplus": ((X,), 1, {"beta": 2.0, "threshold": 10.0}),
    "Threshold": ((X, 0.1, 0.5), 1, OVER),
    "BCELoss": ((CHANCES, CHANCES), 2, {"weight": f(4), **LOSS}),
    "CosineEmbeddingLoss": ((X, X, b(3)), 3, {"margin": 0.1, **LOSS}),
    "CosineSimilarity": ((X, X), 2, {"dim": 0, "eps": 1e-3}),
    "GaussianNLLLoss": ((X, X, Made((3, 4), "positive")), 3, {"full": True, "eps": 1e-3, **LOSS}),
    "HingeEmbeddingLoss": ((X, X), 2, {"margin": 0.1, **LOSS}),
    "KLDivLoss": ((X, CHANCES), 2, {**LOSS, "log_target": True}),
    "MarginRankingLoss": ((X, X, X), 3, {"margin": 0.1, **LOSS}),
    "MultiLabelMarginLoss": ((X, i(4, 3, 4)), 2, LOSS),
    "MultiLabelSoftMarginLoss": ((X, CHANCES), 2, {"weight": f(4), **LOSS}),
    "MultiMarginLoss": ((X, i(4, 3)), 2, {"p": 2, "margin": 0.5, "weight": f(4), **LOSS}),
    "PairwiseDistance": ((X, X), 2, {"p": 1.0, "eps": 1e-3, "keepdim": True}),
    "PoissonNLLLoss": ((X, X), 2, {"log_input": False, "full": True, "eps": 1e-3, **LOSS}),
    "SoftMarginLoss": ((X, X), 2, LOSS),
    "TripletMarginLoss": ((X, X, X), 3, {"margin": 0.5, "p": 1.0, "eps": 1e-3, "swap": True,
                                         **LOSS}),
    "TripletMarginWithDistanceLoss": ((X, X, X), 3, {"distance_function": None, "margin": 0.5,
                                                     "swap": True, **LOSS}),
})  # fmt: skip
LAYERS: dict[str, Call] = {
    name: Call(getattr(nn, name), args, options, inputs, floats=False)
    for name, (args, inputs, options) in _L.items()
}
# Layers that hold others and compute nothing of their own; some make as many as they are told.
HOLDERS = frozenset({
    "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
    "Transformer", "TransformerDecoder", "TransformerEncoder",
})  # fmt: skip
