"""The networks of ADM (Dhariwal & Nichol 2021, arXiv 2105.05233), for training.

The diffusion UNet, its super-resolution variant and the noisy-image classifier.  Parameter
names are those of the public guided-diffusion checkpoints, so state dicts move between the two
unchanged.  What a file needs to be read again is in `Config`, whose fields are named like the
public code's flags.  Images are NCHW in [-1, 1]; timesteps are integers in [0, diffusion_steps).
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import fused


@dataclasses.dataclass(frozen=True)
class Config:
    """The shape of a UNet or a classifier."""

    image_size: int
    in_channels: int  # twice the image's for an upsampler
    model_channels: int
    out_channels: int  # twice the image's with learned sigma; the classes of a classifier
    num_res_blocks: int
    channel_mult: tuple
    attention_resolutions: tuple  # image resolutions, such as 16 and 8
    num_classes: int = 0  # 0: not class-conditional
    num_heads: int = 4  # used where num_head_channels is 0
    num_head_channels: int = 0
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    use_new_attention_order: bool = False
    dropout: float = 0.0
    pool: str = ""  # of a classifier: "attention"

    @classmethod
    def from_metadata(cls, meta):
        """From a file's `adm` metadata, which holds other fields too."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in meta.items() if k in known})


def timestep_embedding(t, dim):
    """Cosines, then sines, of t at dim / 2 frequencies from 1 down to (almost) 1 / 10,000."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def group_norm(channels):
    return nn.GroupNorm(32, channels)


def zero_init(layer):
    """So that a residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Upsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if use_conv else nn.Identity()

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Downsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x):
        return self.op(x)


class ResBlock(nn.Module):
    """BigGAN's residual block with adaptive group normalization.

    The embedding of timestep and class scales and shifts the second norm, or, without
    use_scale_shift_norm, is added before it.
    """

    def __init__(self, c, channels, out=None, resample=None):
        super().__init__()
        out = out or channels
        self.adaptive = c.use_scale_shift_norm
        self.resample = resample(channels, False) if resample else nn.Identity()
        self.in_layers = nn.Sequential(group_norm(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * c.model_channels, 2 * out if self.adaptive else out))
        last = zero_init(nn.Conv2d(out, out, 3, padding=1))
        self.out_layers = nn.Sequential(group_norm(out), nn.SiLU(), nn.Dropout(c.dropout), last)
        self.skip_connection = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x, emb):
        norm, _, conv = self.in_layers
        h = conv(self.resample(norm_silu(x, norm)))
        e = self.emb_layers(emb)
        norm, _, drop, conv = self.out_layers
        h = norm_silu(h, norm, *e.chunk(2, dim=1)) if self.adaptive else norm_silu(h + e[:, :, None, None], norm)
        return self.skip_connection(self.resample(x)) + conv(drop(h))


def norm_silu(x, norm, scale=None, shift=None):
    """silu(norm(x) * (1 + scale) + shift), in one pass where training's bfloat16 takes most of its time."""
    if x.dtype == torch.bfloat16:
        return fused.norm_silu(x, norm, scale, shift)
    h = norm(x)
    return F.silu(h if scale is None else h * (1 + scale[:, :, None, None]) + shift[:, :, None, None])


def pointwise(conv, tokens):
    """A convolution of width 1 over tokens [N, T, C], which is how channels-last images lie."""
    return F.linear(tokens, conv.weight[:, :, 0], conv.bias)


def attention(qkv, heads, new_order):
    """Scaled dot-product attention over tokens: [N, T, 3 * C] -> [N, T, C].

    The channels of qkv are (q|k|v)(head)(channel) in the new order, (head)(q|k|v)(channel) in the
    one that most public files use.
    """
    n, tokens, rows = qkv.shape
    width = rows // (3 * heads)
    q, k, v = qkv.view(n, tokens, 3, heads, width).unbind(2) if new_order else qkv.view(n, tokens, heads, 3, width).unbind(3)
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2).reshape(n, tokens, heads * width)


class AttentionBlock(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        self.heads = channels // c.num_head_channels if c.num_head_channels else c.num_heads
        self.new_order = c.use_new_attention_order
        self.norm = group_norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_init(nn.Conv1d(channels, channels, 1))

    def forward(self, x):
        n, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, c)
        out = pointwise(self.proj_out, attention(pointwise(self.qkv, tokens), self.heads, self.new_order))
        return x + out.view(n, h, w, c).permute(0, 3, 1, 2)


class AttentionPool2d(nn.Module):
    """CLIP's pooling: the mean is added as a token, and what it attends to is the result."""

    def __init__(self, side, channels, head_channels, out):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out, 1)
        self.heads = channels // head_channels

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1) + self.positional_embedding.T
        return pointwise(self.c_proj, attention(pointwise(self.qkv_proj, tokens), self.heads, new_order=True)[:, 0])


class Stage(nn.Sequential):
    """Layers in sequence, of which residual blocks also take the embedding."""

    def forward(self, x, emb):
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class Encoder(nn.Module):
    """What UNet and classifier share: the embeddings, the encoder and the middle."""

    def __init__(self, c):
        super().__init__()
        self.config, width = c, 4 * c.model_channels
        self.time_embed = nn.Sequential(nn.Linear(c.model_channels, width), nn.SiLU(), nn.Linear(width, width))
        if c.num_classes:
            self.label_emb = nn.Embedding(c.num_classes, width)
        widths = [int(m * c.model_channels) for m in c.channel_mult]
        channels, size = widths[0], c.image_size
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(c.in_channels, channels, 3, padding=1))])
        self.skips = [channels]
        for level, out in enumerate(widths):
            for _ in range(c.num_res_blocks):
                self.input_blocks.append(Stage(ResBlock(c, channels, out), *self.attend_at(size, out)))
                channels = out
                self.skips.append(channels)
            if level + 1 < len(widths):
                down = ResBlock(c, channels, resample=Downsample) if c.resblock_updown else Downsample(channels, True)
                self.input_blocks.append(Stage(down))
                self.skips.append(channels)
                size //= 2
        self.middle_block = Stage(ResBlock(c, channels), AttentionBlock(c, channels), ResBlock(c, channels))
        self.widths, self.channels, self.size = widths, channels, size

    def attend_at(self, size, channels):
        return [AttentionBlock(self.config, channels)] if size in self.config.attention_resolutions else []

    def embed(self, t, y):
        emb = self.time_embed(timestep_embedding(t, self.config.model_channels))
        return emb + self.label_emb(y) if self.config.num_classes else emb


class UNet(Encoder):
    """x [N, C, H, W], t [N], labels y [N] or None -> [N, C or 2C, H, W].

    With learned sigma the second half of the output interpolates the variance.  An upsampler
    takes low_res [N, C, h, w], which is enlarged bilinearly and appended to x's channels.
    """

    def __init__(self, c):
        super().__init__(c)
        channels, size, skips = self.channels, self.size, list(self.skips)
        self.output_blocks = nn.ModuleList()
        for level, out in reversed(list(enumerate(self.widths))):
            for i in range(c.num_res_blocks + 1):
                layers = [ResBlock(c, channels + skips.pop(), out), *self.attend_at(size, out)]
                channels = out
                if level and i == c.num_res_blocks:
                    layers.append(ResBlock(c, out, resample=Upsample) if c.resblock_updown else Upsample(out, True))
                    size *= 2
                self.output_blocks.append(Stage(*layers))
        self.out = nn.Sequential(group_norm(channels), nn.SiLU(), zero_init(nn.Conv2d(channels, c.out_channels, 3, padding=1)))

    def forward(self, x, t, y=None, low_res=None):
        if low_res is not None:
            x = torch.cat([x, F.interpolate(low_res, x.shape[2:], mode="bilinear")], dim=1)
        emb, skips, h = self.embed(t, y), [], x
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out[2](norm_silu(h, self.out[0]))


class Classifier(Encoder):
    """Noisy x [N, C, H, W], t [N] -> logits [N, out_channels], by attention pooling."""

    def __init__(self, c):
        super().__init__(c)
        if c.pool != "attention":
            raise ValueError(f"this training code knows the pool 'attention', not {c.pool!r}")
        pool = AttentionPool2d(self.size, self.channels, c.num_head_channels, c.out_channels)
        self.out = nn.Sequential(group_norm(self.channels), nn.SiLU(), pool)

    def forward(self, x, t):
        emb, h = self.embed(t, None), x
        for block in self.input_blocks:
            h = block(h, emb)
        return self.out[2](norm_silu(self.middle_block(h, emb), self.out[0]))
