"""Programs that write in place: functions of the package, so that they run over PyTorch too."""

import numpy as np

X = np.array([[0.6, -0.4, 0.9, 1.3], [-0.7, 0.8, 0.5, -1.1], [1.2, 0.3, -0.6, 0.7]])
W = np.array([0.5, -1.5, 2.0, 0.8])


def rescaled_column(tw, x, w):
    y = x * 2
    y[:, 0] = y[:, 0] * 2
    return y


def recurrence(tw, x, w):
    y = x * 1
    for t in range(1, 3):
        y[t] = y[t - 1].clone() * x[t]
    return y


def recurrence_in_a_buffer(tw, x, w):
    out = tw.zeros(4, 4, dtype=x.dtype)
    for t in range(3):
        out[t + 1] = out[t] * 0.5 + x[t] * w
    return out[1:] * out[1:]


def recurrence_through_kept_views(tw, x, w):
    out = tw.zeros(4, 4, dtype=x.dtype)
    rows = [out[t] for t in range(4)]
    for t in range(3):
        rows[t + 1].copy_(rows[t] * 0.5 + x[t] * w)
    return out * w + rows[3]


def columns_added(tw, x, w):
    y = x * 1
    y[:, :2] += y[:, 2:]
    return y


def masked(tw, x, w):
    y = x * 2
    y[y < 0] = 0
    return y * w


def masked_by_values(tw, x, w):
    y = x * 2
    y[y > 1.1] = w.sum()
    return y * x


def chosen_rows(tw, x, w):
    y = x * 2
    y[tw.tensor([2, 0])] = y[tw.tensor([0, 1])] * w
    return y


def chosen_in_a_view(tw, x, w):
    y = x * 2
    y[1:][:, tw.tensor([3, 1])] = w[:2]
    y.t()[tw.tensor([0, 2]), tw.tensor([1, 2])] = x[0, :2] * 3
    return y * y


def row_of_others(tw, x, w):
    y = x * 1
    y[0] = y[1:].sum(0)
    return y


def view_sees_base(tw, x, w):
    y = x * 3
    z = y.reshape(-1)
    y += 1
    return z.reshape(3, 4) * w


def base_sees_view(tw, x, w):
    y = x * 3
    y.view(4, 3)[1:, 1].mul_(w[:3])
    return y * x


def views_see_each_other(tw, x, w):
    y = x * 3
    a, b = y[:2], y[1:].t()
    a.mul_(w)
    c = b * 2
    b[0] += 7
    return (y + c.t().sum(0)) * a.sum()


def plain_view_of_a_buffer(tw, x, w):
    out = tw.zeros(3, 4, dtype=x.dtype)
    left, right = out[:, :2], out[:, 2:]
    early = left * 2 + w[:2]
    out.add_(x)
    return tw.cat([left * w[:2] + early, right * w[2:]], 1)


def view_before_and_after(tw, x, w):
    y = x * 2
    v = y[1]
    before = v * 3
    y[1, 2] = w[0]
    return before + v + y


def expanded_view_of_what_is_written(tw, x, w):
    y = x[:1] * 1
    v = y.expand(3, 4)
    y.mul_(3)
    return v * x


def stretching_nothing(tw, x, w):
    y = x * 1
    y.expand(3, 4).mul_(2)
    return y


def diagonal_written(tw, x, w):
    y = x * 1
    y.view(-1)[::5] = w[:3]
    return y * y


def diagonal_view_written(tw, x, w):
    y = x * 1
    early = y.diagonal()
    y.mul_(2)
    y.diagonal(1).mul_(w[:3])
    return y * y + early.sum()


def diagonal_filled(tw, x, w):
    y = x * w
    y.fill_diagonal_(0.5)
    return y * x


def broadcast_write(tw, x, w):
    y = x * 1
    y[:] = w
    y[0] = w[0]
    return y * x


def write_of_one_element(tw, x, w):
    y = x * 1
    y[0, 1] = x[2, 3] * w[0]
    y[(1, 1)] *= 3
    return y


def filled_and_zeroed(tw, x, w):
    y = x * 1
    y[0].fill_(2.0)
    y[1].zero_()
    y[2].masked_fill_(y[2] > 0, w[1].detach())
    return y * x


def chain_of_writes(tw, x, w):
    y = x * 1
    y.add_(1).mul_(w).sub_(x).div_(2).clamp_(-0.66, 0.66)
    return y * x


def in_place_arithmetic(tw, x, w):
    y = x * 1
    y += w
    y *= x
    y -= 1
    y /= w
    y **= 2
    return y


def written_by_itself(tw, x, w):
    y = x * 1
    y += y
    y.copy_(y)
    y[0] = y[0]
    return y * x


def saved_product_is_written(tw, x, w):
    y = x * 1
    z = y * y
    y.add_(1)
    return z


def constant_in_front_is_written(tw, x, w):
    c = w.detach().clone()
    y = c * x
    c.add_(1)
    return y


def constant_behind_is_written(tw, x, w):
    c = w.detach().clone()
    y = x * c
    c.add_(1)
    return y


def constant_divisor_is_written(tw, x, w):
    c = w.detach().clone()
    y = x / c
    c.add_(1)
    return y


def constant_matrix_is_written(tw, x, w):
    c = x.detach().clone()
    y = x @ c.t()
    c.add_(1)
    return y


def saved_result_is_written(tw, x, w):
    y = x.exp()
    z = y * 1
    y.add_(1)
    return z + y


def saved_view_is_written(tw, x, w):
    y = x * 1
    z = y[0] * w
    y.zero_()
    return z


def multiplied_by_itself(tw, x, w):
    y = x * 1
    y.mul_(y)
    return y


def index_is_written(tw, x, w):
    i = tw.tensor([0, 1])
    y = x[i]
    i[0] = 2
    return y


def condition_is_written(tw, x, w):
    c = x.detach() > 0
    y = tw.where(c, x, x * 3)
    c[:] = False
    return y


def mask_is_written(tw, x, w):
    c = x.detach() > 0
    y = x.masked_fill(c, 2.0)
    c.fill_(False)
    return y


def chosen_by_a_mask_that_is_written(tw, x, w):
    c = x.detach() > 0
    y = x[c]
    c[:] = True
    return y


def gathered_by_what_is_written(tw, x, w):
    i = tw.tensor([[0], [1], [2]])
    y = x.gather(1, i)
    i.zero_()
    return y


def array_as_an_index_is_written(tw, x, w):
    i = np.array([0, 2])
    y, z = x[i], x * 1
    z[i] = w
    i[0] = 1
    return tw.cat([y, z])


def labels_are_written(tw, x, w):
    cross_entropy = tw.nn.functional.cross_entropy
    labels = tw.tensor([0, 3, 1])
    y = cross_entropy(x, labels, reduction="none")
    labels.zero_()
    return y


def class_weights_are_written(tw, x, w):
    cross_entropy = tw.nn.functional.cross_entropy
    scale = w.detach() + 2
    y = cross_entropy(x, tw.tensor([0, 3, 1]), scale, reduction="none")
    scale *= 2
    return y


def detached_twin_is_written(tw, x, w):
    y = x * 1
    z = y * y
    y.detach().add_(1)
    return z


def detached_twin_of_what_is_not_read(tw, x, w):
    y = x * 1
    z = y * 2
    y.detach().add_(1)
    return z + y


def leaf(tw, x, w):
    x[0] = 5.0
    return x


def leaf_as_a_whole(tw, x, w):
    x.mul_(2)
    return x


def view_of_a_leaf(tw, x, w):
    x.view(-1).add_(1)
    return x


def leaf_under_no_grad(tw, x, w):
    y = x[0] * 2
    with tw.no_grad():
        x[1].zero_()
    return y + x[1]


def expanded(tw, x, w):
    y = (x[:1] * 1).expand(3, 4)
    y.add_(1)
    return y


def expanded_under_no_grad(tw, x, w):
    y = (x[:1] * 1).expand(3, 4)
    with tw.no_grad():
        y.add_(1)
    return y


def piece_of_split(tw, x, w):
    a, b = (x * 1).split(2, 1)
    a.add_(b)
    return a


def piece_of_chunk(tw, x, w):
    a, b = (x * 1).chunk(2, 1)
    a[0] += b[0]
    return a


def piece_of_unbind(tw, x, w):
    y = x * 1
    y.unbind()[0].view(2, 2).mul_(2)
    return y


def row_of_iteration(tw, x, w):
    y = x * 1
    for row in y:
        row.mul_(2)
    return y


def piece_of_a_plain_buffer(tw, x, w):
    out = tw.zeros(3, 4, dtype=x.dtype)
    out.split(2, 1)[0].add_(1)
    return out * x


def gradient_into_a_piece(tw, x, w):
    a = tw.zeros(3, 4, dtype=x.dtype).split(2, 1)[0]
    a.add_(x[:, :2])
    return a


def view_made_under_no_grad(tw, x, w):
    y = x * 1
    with tw.no_grad():
        v = y[:2]
    v.mul_(2)
    return y


def base_of_a_view_made_under_no_grad(tw, x, w):
    y = x * 1
    with tw.no_grad():
        v = y[:2]
    y.mul_(2)
    return v * 2


def base_of_a_piece_made_under_no_grad(tw, x, w):
    y = x * 2
    with tw.no_grad():
        v = y.split(1)[0]
    y.mul_(w)
    return v * 2


def base_of_a_piece_of_a_view_made_under_no_grad(tw, x, w):
    y = x * 2
    with tw.no_grad():
        v = y[:2]
    p = v.unbind()[0]
    y.mul_(w)
    return p * 2


def plain_base_of_a_view_made_under_no_grad(tw, x, w):
    y = tw.zeros(3, 4, dtype=x.dtype)
    with tw.no_grad():
        v = y[:2]
    y.add_(x)
    return v * 2


def view_of_a_leaf_made_under_no_grad(tw, x, w):
    with tw.no_grad():
        v = x[:2]
    v.add_(1)
    return v


def integers_take_no_gradient(tw, x, w):
    i = tw.zeros(3, 4, dtype=tw.int64)
    i.copy_(x)
    i[0] = x[1]
    return x * i.to(x.dtype)


def written_under_no_grad(tw, x, w):
    y = x * 2
    with tw.no_grad():
        y.add_(1)
        y[0] = 3
    return y * 2


def differentiated_through_writes(tw, x, w):
    y = x * x
    y[0] *= w
    y[:, 1].add_(x[:, 2] * x[:, 3])
    (g,) = tw.autograd.grad((y * y * y).sum(), x, create_graph=True)
    z = g * 1
    z[1] = g[0] * w
    return z


def retained_and_written(tw, x, w):
    y = x * 2
    y.retain_grad()
    z = y * 3
    y.mul_(w)
    (y.sum() + z.sum()).backward(retain_graph=True)
    return y * y.grad.clone()


def retained_view_of_what_was_written(tw, x, w):
    y = x * 2
    v = y[0]
    v.retain_grad()
    y[0, 1:] = w[1:]
    (v * v).sum().backward(retain_graph=True)
    return y + v.grad.clone()


def retained_view_on_the_tape(tw, x, w):
    y = x * 2
    v = y[0]
    v.retain_grad()
    y[0, 1:] = w[1:]
    (v * v * v).sum().backward(create_graph=True)
    return y * v.grad


def gradient_of_a_written_tensor(tw, x, w):
    y = x * 2
    y.mul_(x)
    (g,) = tw.autograd.grad((y * y).sum(), y, retain_graph=True)
    return y * g


def gradient_of_a_view_that_was_written(tw, x, w):
    y = x * 2
    v = y[0]
    v.mul_(w)
    (g,) = tw.autograd.grad((v * v).sum(), v, retain_graph=True)
    return y + g


def bases_in_other_layouts(tw, x, w):
    y = (x * 2).t()
    y[1] = w[:3]
    y.t()[0, 2:].mul_(3)
    return y.t() * x


PROGRAMS = {name: f for name, f in list(globals().items()) if getattr(f, "__code__", None) and
            f.__code__.co_varnames[:3] == ("tw", "x", "w")}  # fmt: skip
AT_ONCE = {
    leaf, leaf_as_a_whole, view_of_a_leaf, expanded, expanded_under_no_grad, piece_of_split,
    piece_of_chunk, piece_of_unbind, row_of_iteration, gradient_into_a_piece,
    view_made_under_no_grad, view_of_a_leaf_made_under_no_grad,
}  # fmt: skip
IN_BACKWARD = {
    saved_product_is_written, saved_result_is_written, saved_view_is_written,
    constant_in_front_is_written, constant_behind_is_written, constant_divisor_is_written,
    constant_matrix_is_written,
    multiplied_by_itself, index_is_written, condition_is_written, mask_is_written,
    class_weights_are_written, labels_are_written,
    chosen_by_a_mask_that_is_written, gathered_by_what_is_written, detached_twin_is_written,
    base_of_a_view_made_under_no_grad, plain_base_of_a_view_made_under_no_grad,
    base_of_a_piece_made_under_no_grad, base_of_a_piece_of_a_view_made_under_no_grad,
}  # fmt: skip


# PyTorch refuses by an accident of its bookkeeping: it looks at the view before it has renewed it.
WIDER = {recurrence_through_kept_views}
# PyTorch reads the array itself in backward, and what stands there by then.
RIGHT = {array_as_an_index_is_written}
# What they do is no function of x and w alone: differences of them say nothing.
NO_FUNCTION = {
    filled_and_zeroed, detached_twin_of_what_is_not_read, leaf_under_no_grad,
    integers_take_no_gradient, written_under_no_grad, differentiated_through_writes,
    retained_and_written, retained_view_of_what_was_written, retained_view_on_the_tape,
    gradient_of_a_written_tensor, gradient_of_a_view_that_was_written,
}  # fmt: skip
