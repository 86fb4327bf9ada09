"""Group normalization, adaptive scale and shift, and SiLU in one, for bfloat16 images.

On a CPU by fused.c; on a GPU by the same formulas in PyTorch's operations, which torch.compile joins.
"""

import ctypes
import functools
import os
import subprocess
import tempfile

import torch
import torch.nn.functional as F

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fPIC", "-shared"]


@functools.cache
def library():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fused.c")
    with tempfile.TemporaryDirectory() as folder:
        built = os.path.join(folder, "fused.so")
        subprocess.run([os.environ.get("CC", "cc"), *FLAGS, source, "-o", built, "-lm"], check=True)
        return ctypes.CDLL(built)


def call(name, n, pixels, channels, *tensors):
    getattr(library(), name)(*(ctypes.c_void_p(t.data_ptr()) for t in tensors), *(ctypes.c_long(k) for k in (n, pixels, channels)))


def affine(first, second, pixels, eps, weight, bias, scale, shift):
    """The channels' factors and summands [N, C] that normalization and the embedding's part come to."""
    n, c = first.shape
    mean, square = (m.view(n, 32, -1).mean(2) / pixels for m in (first, second))
    deviation = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
    spread = lambda g: g.repeat_interleave(c // 32, 1)
    a = spread(deviation) * weight
    b = bias - spread(mean) * a
    return (a, b) if scale is None else (a * (1 + scale), b * (1 + scale) + shift)


class NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps, weight, bias, scale, shift):
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        first, second = torch.empty(2, n, c).unbind(0)
        call("moments", n, h * w, c, x, first, second)
        a, b = affine(first, second, h * w, eps, weight, bias, scale, shift)
        y = torch.empty_like(x)
        call("forward", n, h * w, c, x, a.contiguous(), b.contiguous(), y)
        ctx.save_for_backward(x, first, second, weight, bias, scale, shift)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, dy):
        x, *rest = ctx.saved_tensors
        n, c, h, w = x.shape
        with torch.enable_grad():  # the little part is left to autograd
            leaves = [None if t is None else t.detach().float().requires_grad_() for t in rest]
            a, b = affine(*leaves[:2], h * w, ctx.eps, *leaves[2:])
        dz = dy.clone(memory_format=torch.channels_last)
        da, db = torch.empty(2, n, c).unbind(0)
        ac, bc = a.detach().contiguous(), b.detach().contiguous()
        call("backward_sums", n, h * w, c, x, dz, ac, bc, db, da)
        given = [t for t in leaves if t is not None]
        grads = iter(torch.autograd.grad((a, b), given, (da, db)))
        first, second, *others = [None if t is None else next(grads) for t in leaves]
        call("backward", n, h * w, c, x, dz, ac, (2 * second).contiguous(), first.contiguous())
        return dz, None, *others


def norm_silu(x, norm, scale=None, shift=None):
    """silu(norm(x) * (1 + scale) + shift) of bfloat16 x [N, C, H, W]; scale and shift [N, C]."""
    lifted = (None, None) if scale is None else (scale.float(), shift.float())
    with torch.autocast(x.device.type, enabled=False):
        return on_cpu(x, norm, *lifted) if x.device.type == "cpu" else on_gpu(x, norm, *lifted)


def on_cpu(x, norm, scale, shift):
    return NormSilu.apply(x, norm.eps, norm.weight, norm.bias, scale, shift)


def on_gpu(x, norm, scale, shift):
    """Sums per channel, not per group: so they run along the memory of channels-last images."""
    wide, pixels = x.float(), x.shape[2] * x.shape[3]
    a, b = affine(wide.sum((2, 3)), wide.square().sum((2, 3)), pixels, norm.eps, norm.weight, norm.bias, scale, shift)
    return F.silu(wide * a[:, :, None, None] + b[:, :, None, None]).to(x.dtype)
