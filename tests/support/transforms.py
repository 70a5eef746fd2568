"""Every way in which PyTorch takes derivatives of a call, or calls it for many inputs at once."""

import torch
from torch.autograd import forward_ad


def transformed(call, x, weight, bias):
    """Yield outputs of ``call``, each with a name."""
    yield call(x, weight, bias.clone().requires_grad_()), "only the bias is trained"
    yield torch.func.vmap(call, (0, None, None))(x[None], weight, bias), "vmap over inputs"
    yield torch.func.vmap(call, (None, 0, 0))(x, weight[None], bias[None]), "vmap over weights"
    yield torch.func.vmap(call, (None, None, 0))(x, weight, bias[None]), "vmap over biases"
    for place, name in enumerate(("input", "weight", "bias")):
        given = [x, weight, bias]

        def one(each, place=place, given=given):
            return call(*given[:place], each, *given[place + 1 :])

        yield torch.func.jvp(one, (given[place],), (given[place],))[1], f"jvp by the {name}"
        yield torch.func.vjp(one, given[place])[1](torch.ones_like(call(*given)))[0], f"vjp: {name}"
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(given[place], given[place])
            tangent = forward_ad.unpack_dual(one(dual)).tangent
        yield tangent, f"dual numbers: the {name}"
