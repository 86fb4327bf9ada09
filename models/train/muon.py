"""Muon (Jordan et al. 2024): momentum whose every matrix is replaced by the nearest orthogonal one.

For the weights of convolutions and linear layers, each seen as a matrix [out, in * kernel].  On
a few hundred thousand images it needs fewer of them than AdamW, which stays in charge of biases,
norms, embeddings and the network's first and last layer.
"""

import math

import torch
import torch.distributed as dist


def orthogonalize(g, iterations=5):
    """[K, M, N] -> about U V^T of each singular value decomposition, by Newton-Schulz in bfloat16."""
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


def shared(f, x):
    """f(x) with x's rows dealt out to the processes that train together, if there are several."""
    if not dist.is_initialized():
        return f(x)
    out, own = torch.zeros_like(x), range(dist.get_rank(), len(x), dist.get_world_size())
    if len(own):
        out[own] = f(x[own])
    dist.all_reduce(out)
    return out


class Muon(torch.optim.Optimizer):
    """The step is scaled so that its root mean square is about 0.2 lr, as AdamW's is (Liu et al. 2025)."""

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault((p.shape[0], p[0].numel()), []).append(p)
            for shape, same in by_shape.items():
                updates = shared(orthogonalize, torch.stack([self.direction(p, shape, group["momentum"]) for p in same]))
                for p, update in zip(same, updates):
                    p.add_(update.view(p.shape), alpha=-group["lr"] * 0.2 * math.sqrt(max(shape)))

    def direction(self, p, shape, momentum):
        """Nesterov's: the gradient, moved towards its running average."""
        grad = p.grad.reshape(shape)
        average = self.state[p].setdefault("average", grad.new_zeros(shape))
        average.lerp_(grad, 1 - momentum)
        return grad.lerp(average, momentum)


def optimizers(net, muon_lr, adam_lr, weight_decay=0.0):
    """[(optimizer, its rate)]: Muon for the matrices inside the network, AdamW for the rest."""
    ends = ("input_blocks.0.", "out.", "label_emb.")
    inner = [p for name, p in net.named_parameters() if p.dim() > 1 and not name.startswith(ends)]
    chosen = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, adam_lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    return [(Muon(inner, muon_lr), muon_lr), (adam, adam_lr)]
