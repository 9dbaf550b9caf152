"""ONNX's operators on images by tilework's functions: see onnx_runner.

tilework works on one and two axes of an image. What is separable is done on a third axis by itself,
and a convolution over three axes is a sum over the kernel's first one.
"""

from typing import NamedTuple

import tilework as tw
from tilework import functional as F


def ints(x):
    """A tensor of integers, or a list, as a list."""
    return [int(i) for i in (x.tolist() if isinstance(x, tw.Tensor) else x)]


class Window(NamedTuple):
    """Along one axis: the kernel's length, its step, its dilation, and the padding at both ends."""

    length: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self):
        return (self.length - 1) * self.dilation + 1

    def count(self, size, ceil):
        """How many windows there are; none starts past the padding in front and the input."""
        spare = size + self.before + self.after - self.reach
        count = (-(-spare // self.stride) if ceil else spare // self.stride) + 1
        return count - (ceil and (count - 1) * self.stride >= size + self.before)


def windows(attributes, sizes, kernel):
    """The windows of a node over axes of `sizes`."""
    rank = len(kernel)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    found = []
    for i, (size, length) in enumerate(zip(sizes, kernel, strict=True)):
        window = Window(length, strides[i], dilations[i], pads[i], pads[rank + i])
        if auto.startswith("SAME"):
            total = max((-(-size // window.stride) - 1) * window.stride + window.reach - size, 0)
            small, large = total // 2, total - total // 2
            ends = (small, large) if auto == "SAME_UPPER" else (large, small)
            window = window._replace(before=ends[0], after=ends[1])
        found.append(window)
    return found


def pad_axes(x, spans, value=0.0):
    """x with (before, after) added to, or with negative numbers cut from, its last axes."""
    flat = [n for before, after in reversed(spans) for n in (before, after)]
    return F.pad(x, flat, value=value) if any(flat) else x


def along(x, axis, function):
    """function, of (M, 1, L) to (M, 1, L'), along one axis."""
    moved = x.movedim(axis, -1)
    y = function(moved.reshape(-1, 1, moved.shape[-1]))
    return y.reshape(*moved.shape[:-1], y.shape[-1]).movedim(-1, axis)


def on_planes(x, function):
    """function, of (N, C, H, W), for each place along the axes between C and H."""
    if x.ndim == 4:
        return function(x)
    n, c, depth = x.shape[:3]
    flat = x.movedim(2, 1).reshape(n * depth, c, *x.shape[3:])
    y = function(flat)
    return y.reshape(n, depth, *y.shape[1:]).movedim(1, 2)


# --- convolutions ---


def conv(attributes, x, weight, bias=None):
    axes = windows(attributes, x.shape[2:], weight.shape[2:])
    groups = attributes.get("group", 1)
    how = {"groups": groups}
    if all(a.before == a.after for a in axes):
        padding = [a.before for a in axes]
    else:
        x, padding = pad_axes(x, [(a.before, a.after) for a in axes]), [0] * len(axes)
    strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
    if len(axes) < 3:
        function = F.conv1d if len(axes) == 1 else F.conv2d
        return function(x, weight, bias, strides, padding, dilations, **how)
    x = pad_axes(x, [(padding[0], padding[0]), (0, 0), (0, 0)])
    count = (x.shape[2] - axes[0].reach) // strides[0] + 1
    total = None
    for k in range(axes[0].length):
        start = k * dilations[0]
        part = x[:, :, start : start + (count - 1) * strides[0] + 1 : strides[0]]
        y = on_planes(
            part,
            lambda planes, w=weight[:, :, k]: F.conv2d(
                planes, w, None, strides[1:], padding[1:], dilations[1:], **how
            ),
        )
        total = y if total is None else total + y
    return total if bias is None else total + bias.reshape(-1, 1, 1, 1)


def conv_transpose(attributes, x, weight, bias=None):
    rank = x.ndim - 2
    attributes = dict(attributes)
    extra = attributes.get("output_padding", [0] * rank)
    auto = attributes.pop("auto_pad", b"NOTSET").decode()
    axes = windows(attributes, x.shape[2:], weight.shape[2:])
    wanted = attributes.get("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [n * a.stride for n, a in zip(x.shape[2:], axes, strict=True)]
    if wanted is not None:
        for i, axis in enumerate(axes):
            total = axis.stride * (x.shape[2 + i] - 1) + extra[i] + axis.reach - wanted[i]
            small, large = total // 2, total - total // 2
            ends = (small, large) if auto == "SAME_UPPER" else (large, small)
            axes[i] = axis._replace(before=ends[0], after=ends[1])
    how = {
        "stride": [a.stride for a in axes],
        "output_padding": extra,
        "groups": attributes.get("group", 1),
        "dilation": [a.dilation for a in axes],
    }
    if rank == 3:
        y = conv_transpose_3d(x, weight, bias, how)
    else:
        function = F.conv_transpose1d if rank == 1 else F.conv_transpose2d
        if all(a.before == a.after >= 0 for a in axes):
            return function(x, weight, bias, padding=[a.before for a in axes], **how)
        y = function(x, weight, bias, **how)
    return pad_axes(y, [(-a.before, -a.after) for a in axes])


def conv_transpose_3d(x, weight, bias, how):
    """Each plane of x by each plane of the kernel, added where they meet."""
    step, spread = how["stride"][0], how["dilation"][0]
    flat = {name: value if name == "groups" else value[1:] for name, value in how.items()}
    reach = (weight.shape[2] - 1) * spread + 1
    planes = [None] * ((x.shape[2] - 1) * step + reach + how["output_padding"][0])
    for d in range(x.shape[2]):
        for k in range(weight.shape[2]):
            y = F.conv_transpose2d(x[:, :, d], weight[:, :, k], **flat)
            at = d * step + k * spread
            planes[at] = y if planes[at] is None else planes[at] + y
    blank = tw.zeros_like(planes[0])
    y = tw.stack([blank if plane is None else plane for plane in planes], 2)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def fold(attributes, x, image, block):
    block = ints(block)
    axes = windows(attributes, ints(image), block)
    if len(axes) != 2 or any(a.before != a.after for a in axes):
        raise NotImplementedError("fold is of two axes, padded alike at both ends")
    return F.fold(
        x,
        tuple(ints(image)),
        tuple(block),
        dilation=tuple(a.dilation for a in axes),
        padding=tuple(a.before for a in axes),
        stride=tuple(a.stride for a in axes),
    )


# --- pooling ---


def native(axis, size):
    """Whether a pooling function of ours takes the window as it is."""
    return axis.before == axis.after <= axis.length // 2 and size > 0


def max_pool(attributes, x):
    dtype = x.dtype
    x = x if dtype in (tw.float32, tw.float64) else x.float()
    ceil = bool(attributes.get("ceil_mode"))
    axes = windows(attributes, x.shape[2:], attributes["kernel_shape"])
    if attributes["outputs"] == 2:
        return max_pool_with_indices(attributes, x, axes, ceil)
    rank = len(axes)
    for i, axis in enumerate(axes[:-2] if rank > 1 else axes):
        x = along(x, 2 + i, lambda row, a=axis: max_along(row, a, ceil))
    if rank > 1:
        x = on_planes(x, lambda planes: max_plane(planes, axes[-2:], ceil))
    return x.to(dtype)


def max_along(x, axis, ceil):
    if not native(axis, x.shape[-1]):
        x = F.pad(x, (axis.before, axis.after), value=-float("inf"))
        axis = axis._replace(before=0, after=0)
    return F.max_pool1d(x, axis.length, axis.stride, axis.before, axis.dilation, ceil)


def max_plane(x, axes, ceil):
    if not all(native(a, n) for a, n in zip(axes, x.shape[2:], strict=True)):
        x = pad_axes(x, [(a.before, a.after) for a in axes], -float("inf"))
        axes = [a._replace(before=0, after=0) for a in axes]
    return F.max_pool2d(x, *plane_options(axes), [a.dilation for a in axes], ceil)


def plane_options(axes):
    return [a.length for a in axes], [a.stride for a in axes], [a.before for a in axes]


def max_pool_with_indices(attributes, x, axes, ceil):
    dilation = [a.dilation for a in axes]
    y, at = F.max_pool2d(x, *plane_options(axes), dilation, ceil, return_indices=True)
    height, width = x.shape[2:]
    if attributes.get("storage_order"):
        at = at % width * height + tw.floor_divide(at, width)
    planes = tw.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1)
    return y, at + planes * (height * width)


def average_pool(attributes, x):
    axes = windows(attributes, x.shape[2:], attributes["kernel_shape"])
    ceil = bool(attributes.get("ceil_mode"))
    whole = bool(attributes.get("count_include_pad"))
    last = list(zip(axes, x.shape[2:], strict=True))[-2:]
    plain = len(axes) > 1 and all(native(a, n) and a.dilation == 1 for a, n in last)
    if plain:
        options = plane_options(axes[-2:])
        x = on_planes(x, lambda planes: F.avg_pool2d(planes, *options, ceil, whole))
    for i, axis in enumerate(axes[:-2] if plain else axes):
        x = along(x, 2 + i, lambda row, a=axis: average_along(row, a, ceil, whole))
    return x


def average_along(x, axis, ceil, whole):
    """The sum in each window over the sum of what counts: our pooling knows no dilation."""
    size = x.shape[-1]
    if native(axis, size) and axis.dilation == 1:
        return F.avg_pool1d(x, axis.length, axis.stride, axis.before, ceil, whole)
    counted = tw.full((1, 1, size), 1.0, dtype=x.dtype)
    counted = F.pad(counted, (axis.before, axis.after), value=float(whole))
    x = F.pad(x, (axis.before, axis.after))
    last = (axis.count(size, ceil) - 1) * axis.stride + axis.reach
    spare = (0, last - x.shape[-1])
    ones = tw.full((1, 1, axis.length), 1.0, dtype=x.dtype)
    sums = [
        F.conv1d(F.pad(a, spare), ones, None, axis.stride, 0, axis.dilation) for a in (x, counted)
    ]
    return sums[0] / sums[1]


# --- normalisation ---


def batch_norm(attributes, x, scale, bias, mean, var):
    eps, momentum = attributes.get("epsilon", 1e-5), attributes.get("momentum", 0.9)
    if not attributes.get("training_mode"):
        return F.batch_norm(x, mean, var, scale, bias, False, eps=eps)
    new_mean, new_var = mean.clone(), var.clone()
    y = F.batch_norm(x, new_mean, new_var, scale, bias, True, 1.0 - momentum, eps)
    # The standard's running variance is of the batch as it is, ours the estimate behind it.
    count = x.numel() // x.shape[1]
    new_var = var * momentum + (new_var - var * momentum) * ((count - 1) / count)
    return y, new_mean, new_var


def layer_norm(attributes, x, scale, bias=None):
    axis = attributes.get("axis", -1) % x.ndim
    eps = attributes.get("epsilon", 1e-5)
    y = F.layer_norm(x, x.shape[axis:], scale, bias, eps)
    dims = tuple(range(axis, x.ndim))
    mean = tw.mean(x, dims, keepdim=True)
    return y, mean, tw.rsqrt(tw.mean(tw.square(x - mean), dims, keepdim=True) + eps)


def rms_norm(attributes, x, scale):
    axis = attributes.get("axis", -1) % x.ndim
    return F.rms_norm(x, x.shape[axis:], scale, attributes.get("epsilon", 1e-5))


def local_response_norm(attributes, x):
    """x / (bias + alpha / size * sum of squares over neighbouring channels)^beta."""
    size = attributes["size"]
    before = (size - 1) // 2
    squares = pad_axes(tw.square(x), [(before, size - 1 - before), (0, 0), (0, 0)])
    total = squares[:, : x.shape[1]]
    for i in range(1, size):
        total = total + squares[:, i : i + x.shape[1]]
    scale = attributes.get("bias", 1.0) + attributes.get("alpha", 1e-4) / size * total
    return x / tw.pow(scale, attributes.get("beta", 0.75))


# --- sizes ---


def nearest_source(at, scale, size, out, coordinates, rounding):
    """The index that an output position reads, as the standard defines it."""
    source = {
        "asymmetric": lambda: at / scale,
        "half_pixel": lambda: (at + 0.5) / scale - 0.5,
        "half_pixel_symmetric": lambda: (
            size / 2 * (1 - out / (scale * size)) + (at + 0.5) / scale - 0.5
        ),
        "align_corners": lambda: at * (size - 1) / max(out - 1, 1),
    }[coordinates]()
    rounded = {
        "floor": tw.floor,
        "ceil": tw.ceil,
        "round_prefer_floor": lambda x: tw.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: tw.floor(x + 0.5),
    }[rounding](source)
    return tw.clamp(rounded, 0, size - 1).long()


def resize(attributes, x, roi=None, scales=None, sizes=None):
    mode = attributes.get("mode", b"nearest").decode()
    coordinates = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    policy = attributes.get("keep_aspect_ratio_policy", b"stretch").decode()
    if mode == "cubic" or attributes.get("antialias") or coordinates == "tf_crop_and_resize":
        raise NotImplementedError("interpolate is nearest and bilinear")
    axes = [a % x.ndim for a in attributes.get("axes", range(x.ndim))]
    before = [x.shape[a] for a in axes]
    if scales is not None and scales.numel():
        factors = [float(s) for s in scales.tolist()]
        out = [int(n * s) for n, s in zip(before, factors, strict=True)]
    else:
        out = ints(sizes)
        factors = [o / n for o, n in zip(out, before, strict=True)]
        if policy != "stretch":
            one = (min if policy == "not_larger" else max)(factors)
            factors, out = [one] * len(axes), [int(one * n + 0.5) for n in before]
    if mode == "linear":
        return resize_linear(x, axes, factors, out, coordinates, scales is not None)
    rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode()
    if attributes["opset"] == 10:
        coordinates, rounding = "asymmetric", "floor"
    # A pixel's middle lies within the pixel that a whole factor repeats it from.
    whole = (
        all(f == int(f) for f in factors) and coordinates == "half_pixel" and "round" in rounding
    )
    shape = dict(zip(axes, out, strict=True))
    spatial = x.ndim == 4 and all(shape.get(a, x.shape[a]) == x.shape[a] for a in (0, 1))
    if spatial and (whole or (coordinates, rounding) == ("asymmetric", "floor")):
        size = [shape.get(a, x.shape[a]) for a in (2, 3)]
        return F.interpolate(x, size=size, mode="nearest")
    for axis, factor, n, o in zip(axes, factors, before, out, strict=True):
        at = tw.arange(o).double()
        x = x.index_select(axis, nearest_source(at, factor, n, o, coordinates, rounding))
    return x


def resize_linear(x, axes, factors, out, coordinates, by_scale):
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise NotImplementedError(f"bilinear by {coordinates}")
    shape, scale = dict(zip(axes, out, strict=True)), dict(zip(axes, factors, strict=True))
    corners = coordinates == "align_corners"
    if by_scale:
        how = {"scale_factor": tuple(scale.get(a, 1.0) for a in (2, 3))}
    else:
        how = {"size": tuple(shape.get(a, x.shape[a]) for a in (2, 3))}
    return F.interpolate(x, mode="bilinear", align_corners=corners, **how)


def upsample(attributes, x, scales=None):
    if scales is None:
        scales = tw.tensor(attributes["scales"])
    how = {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    return resize({**attributes, **how}, x, None, scales)


def depth_to_space(attributes, x):
    block = attributes["blocksize"]
    if attributes.get("mode", b"DCR") == b"DCR":  # channels (block, block, C) rather than (C, ...)
        n, c, h, w = x.shape
        x = x.reshape(n, block * block, c // block**2, h, w).transpose(1, 2).reshape(n, c, h, w)
    return F.pixel_shuffle(x, block)


def space_to_depth(attributes, x):
    block = attributes["blocksize"]
    y = F.pixel_unshuffle(x, block)
    if attributes.get("mode", b"DCR") == b"CRD":
        return y
    n, c, h, w = y.shape
    return y.reshape(n, c // block**2, block * block, h, w).transpose(1, 2).reshape(n, c, h, w)


def pad(attributes, x, pads=None, value=None, axes=None):
    pads = attributes["pads"] if pads is None else ints(pads)
    value = attributes.get("value", 0.0) if value is None else value.item()
    axes = range(x.ndim) if axes is None else [a % x.ndim for a in ints(axes)]
    spans = dict(zip(axes, zip(pads, pads[len(pads) // 2 :], strict=False), strict=False))
    first = min((a for a, span in spans.items() if any(span)), default=x.ndim)
    flat = [n for a in reversed(range(first, x.ndim)) for n in spans.get(a, (0, 0))]
    mode = attributes.get("mode", b"constant").decode()
    modes = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode in modes:
        return F.pad(x, flat, mode=modes[mode])
    return F.pad(x, flat, value=value)


# --- activations ---


def elu(attributes, x):
    return tw.where(x > 0, x, (tw.exp(tw.minimum(x, x * 0.0)) - 1.0) * attributes.get("alpha", 1.0))


def selu(attributes, x):
    gamma = attributes.get("gamma", 1.0507009873554805)
    return elu({"alpha": attributes.get("alpha", 1.6732632423543772)}, x) * gamma


def prelu(attributes, x, slope):
    if attributes["opset"] < 7 and slope.ndim == 1 and slope.shape[0] > 1:
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))
    return tw.where(x > 0, x, x * slope)


def softplus(attributes, x):
    return tw.maximum(x, x * 0.0) + tw.log(1.0 + tw.exp(-tw.abs(x)))


IMAGE_OPS = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Col2Im": fold,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Elu": elu,
    "GlobalAveragePool": lambda attributes, x: F.adaptive_avg_pool2d(x, 1),
    "GlobalMaxPool": lambda attributes, x: F.adaptive_max_pool2d(x, 1),
    "GroupNormalization": lambda attributes, x, scale, bias: F.group_norm(
        x, attributes["num_groups"], scale, bias, attributes.get("epsilon", 1e-5)
    ),
    "InstanceNormalization": lambda attributes, x, scale, bias: F.instance_norm(
        x, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5)
    ),
    "LRN": local_response_norm,
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda attributes, x: tw.where(x > 0, x, x * attributes.get("alpha", 0.01)),
    "MaxPool": max_pool,
    "PRelu": prelu,
    "Pad": pad,
    "RMSNormalization": rms_norm,
    "Resize": resize,
    "Selu": selu,
    "Softplus": softplus,
    "SpaceToDepth": space_to_depth,
    "Upsample": upsample,
}
