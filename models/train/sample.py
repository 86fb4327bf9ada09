"""Look at a diffusion model and measure it: draw images, let the judge label them.

    python sample.py ../fashion32.safetensors --judge ../../tests/fixtures/judge.safetensors --png grid.png
    python sample.py ../emoji32.safetensors --per-class 8 --out samples.npz --png grid.png

Prints the share of images that the judge labels as was asked, for each class and in all.  `--out` writes them as the
public evaluation scripts want them: arr_0 uint8 N,H,W,C, arr_1 the labels.
"""

import argparse
import struct
import time
import zlib

import numpy as np
import torch

import checkpoint
import judge as judging
from data import FAMILIES
from diffusion import ddim_timesteps, guided


def write_png(path, rows):
    """An 8-bit PNG of a [H, W, 1 or 3] uint8 tensor."""
    h, w, channels = rows.shape
    chunk = lambda tag, body: struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
    lines = b"".join(b"\0" + row.numpy().tobytes() for row in rows.contiguous())
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", w, h, 8, 2 if channels == 3 else 0, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def enlarged(rows, times):
    return rows.repeat_interleave(times, 0).repeat_interleave(times, 1)


def to_u8(images):
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def grid(images, columns):
    """[N, C, H, W] in [-1, 1] -> one [rows * H, columns * W, C] uint8 image."""
    n, c, h, w = images.shape
    return to_u8(images).view(n // columns, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(n // columns * h, columns * w, c)


def lowered(model):
    """In bfloat16, which is several times faster on some CPUs and good enough for a look."""

    def evaluate(x, t):
        with torch.autocast(x.device.type, torch.bfloat16):
            return model(x.to(memory_format=torch.channels_last), t).float()

    return evaluate


def draw(net, meta, labels, steps=None, seed=0, scale=1.0, timesteps=None, exact=True, batch=48):
    """Images of the classes asked for: by DDIM with `steps` or at `timesteps`, or as a few-step model says itself.

    The network is evaluated where it is; the noise comes from the CPU's generator, so that a seed means the same everywhere.
    """
    own = {} if steps or timesteps else meta.get("few_step", {})
    few = timesteps or own.get("timesteps")
    process = checkpoint.process(meta, sorted(few) if few else ddim_timesteps(meta["diffusion_steps"], steps or 25))
    random = torch.Generator().manual_seed(seed)
    shape = (len(labels), net.config.out_channels // (2 if meta["learn_sigma"] else 1), meta["image_size"], meta["image_size"])
    images, device = [], next(net.parameters()).device
    for x, y in zip(torch.randn(shape, generator=random).split(batch), labels.split(batch)):
        model = guided(net, y.to(device), meta.get("null_class"), scale)
        sampler = process.dpm_2m if own.get("sampler") == "dpm++2m" else process.ddim
        images.append(sampler(model if exact else lowered(model), x.to(device)).cpu())
    return torch.cat(images)


def main():
    p = argparse.ArgumentParser(description="Draw images from a class-conditional model and judge them.")
    p.add_argument("model")
    p.add_argument("--judge", help="the judge's file")
    p.add_argument("--per-class", type=int, default=20)
    p.add_argument("--steps", type=int, help="of DDIM; 25, or those of a few-step model")
    p.add_argument("--timesteps", type=lambda s: [int(t) for t in s.split(",")], help="DDIM at just these, such as 999,600")
    p.add_argument("--bf16", action="store_true", help="evaluate the network in bfloat16")
    p.add_argument("--scale", type=float, default=1.0, help="of classifier-free guidance, for a model with a class of no name")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--png", help="write the images here, a class a row")
    p.add_argument("--zoom", type=int, default=1)
    p.add_argument("--out", help="write the images here, an .npz")
    args = p.parse_args()

    net, meta = checkpoint.load(args.model)
    names = FAMILIES[meta.get("family", "fashion")].class_names
    labels = torch.arange(len(names)).repeat_interleave(args.per_class)
    start = time.time()
    images = draw(net, meta, labels, args.steps, args.seed, args.scale, args.timesteps, not args.bf16)
    print(f"{len(images)} images in {time.time() - start:.0f} s")
    if args.png:
        write_png(args.png, enlarged(grid(images, args.per_class), args.zoom))
    if args.out:
        np.savez_compressed(args.out, to_u8(images).permute(0, 2, 3, 1).numpy(), labels.numpy())
    if args.judge:
        judge, about = judging.load(args.judge)
        judging.report(judge, about["class_names"], images, labels)


if __name__ == "__main__":
    main()
