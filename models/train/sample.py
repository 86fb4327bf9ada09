"""Look at a diffusion model and measure it: draw images, let the judge label them.

    python sample.py ../fashion32.safetensors --count 200 --judge ../../tests/fixtures/judge.safetensors --png grid.png

Prints the share of images that the judge labels as was asked, for each class and in all.
"""

import argparse
import struct
import zlib

import torch

import checkpoint
import judge as judging
from diffusion import ddim_timesteps


def write_png(path, rows):
    """An 8-bit grey PNG of a [H, W] uint8 tensor."""
    h, w = rows.shape
    chunk = lambda tag, body: struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
    lines = b"".join(b"\0" + bytes(row.tolist()) for row in rows)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", w, h, 8, 0, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def grid(images, columns):
    """[N, 1, H, W] in [-1, 1] -> one [rows * H, columns * W] uint8 image."""
    n, _, h, w = images.shape
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.view(n // columns, columns, h, w).permute(0, 2, 1, 3).reshape(n // columns * h, columns * w)


def main():
    p = argparse.ArgumentParser(description="Draw images from a class-conditional model and judge them.")
    p.add_argument("model")
    p.add_argument("--judge", help="judge.safetensors")
    p.add_argument("--count", type=int, default=100, help="a multiple of 10")
    p.add_argument("--steps", type=int, default=25)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--png", help="write the images here, a class a column")
    args = p.parse_args()

    net, meta = checkpoint.load(args.model)
    process = checkpoint.process(meta, ddim_timesteps(meta["diffusion_steps"], args.steps))
    names = meta["class_names"]
    labels = torch.arange(args.count) % len(names)
    side = meta["image_size"]
    start = torch.randn(args.count, 1, side, side, generator=torch.Generator().manual_seed(args.seed))
    images = torch.cat([process.ddim(lambda x, t: net(x, t, y), x) for x, y in zip(start.split(50), labels.split(50))])
    if args.png:
        write_png(args.png, grid(images, len(names)))
    if args.judge:
        with torch.no_grad():
            found = judging.load(args.judge)[0](images).argmax(1)
        for c, name in enumerate(names):
            own = found[labels == c]
            wrong = ", ".join(f"{names[k]} {n}" for k, n in enumerate(own.bincount(minlength=len(names))) if n and k != c)
            print(f"{name:12} {(own == c).sum():4} of {len(own)}   {'taken for: ' + wrong if wrong else ''}")
        print(f"as asked: {(found == labels).float().mean():.3f} of {args.count}")


if __name__ == "__main__":
    main()
