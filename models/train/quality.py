"""Measure generated emoji: labelled as asked, Frechet distance, nearness to the training pictures.

    python quality.py ../emoji32.safetensors --judge ../../tests/fixtures/judge-emoji.safetensors --out quality
    python quality.py samples.npz            --judge ../../tests/fixtures/judge-emoji.safetensors --out quality

The input is a model, which draws 50 images per class, or images (arr_0 uint8 N,32,32,3 and arr_1 labels, such as
`guided-diffusion sample --out samples.npz` writes).  Writes quality.json, the histogram quality.svg and the eight
nearest pairs quality-pairs.png.

The Frechet distance is between Gaussians fitted to the features that the judge's last layer reads.  Every class has
the same weight on both sides.  With it stand the distance between two halves of the real pictures, split by chance,
and the same with as many pictures a class as were generated, since few pictures make the distance larger.

Nearness: for each image the training picture, as it is or mirrored, with the smallest root mean square difference of
pixels (of 255), and with the smallest distance of features; the same for the held-out pictures.
"""

import argparse
import json

import numpy as np
import torch

import checkpoint
import judge as judging
import sample
from data import Emoji

BARS = 30


def weights(labels):
    """One for each image, so that the classes weigh the same and the sum is 1."""
    counts = labels.bincount()
    return (1 / counts[labels].double()) / (counts > 0).sum()


def frechet(a, a_labels, b, b_labels):
    """Between class-balanced Gaussians."""
    moments = []
    for x, y in ((a.double(), a_labels), (b.double(), b_labels)):
        w = weights(y)[:, None]
        mean = (w * x).sum(0)
        moments.append((mean, (w * (x - mean)).T @ (x - mean) / (1 - (w * w).sum())))
    (m, s), (n, t) = moments
    # tr sqrt(s t) = tr sqrt(sqrt(s) t sqrt(s)), which is symmetric.
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    return float((m - n).square().sum() + s.trace() + t.trace() - 2 * cross)


def halves(labels, most, random):
    """Two disjoint selections with each class split evenly, of at most `most` a class."""
    first, second = [], []
    for c in labels.unique():
        own = torch.nonzero(labels == c)[:, 0]
        own = own[torch.randperm(len(own), generator=random)]
        half = min(len(own) // 2, most)
        first.append(own[:half]), second.append(own[half : 2 * half])
    return torch.cat(first), torch.cat(second)


def nearest(x, others):
    """For each row of x the smallest root mean square distance to a row of others, and which."""
    found = [torch.cdist(rows, others).min(1) for rows in x.split(100)]
    return torch.cat([f.values for f in found]) / x.shape[1] ** 0.5, torch.cat([f.indices for f in found])


def svg(path, plots):
    """Histograms, one under the other: plots are (title, [(name, colour, values)])."""
    height, parts = 190, []
    for k, (title, series) in enumerate(plots):
        top = max(float(v.max()) for _, _, v in series) * 1.001
        y0 = k * height + 150
        parts.append(f'<text x="10" y="{y0 - 128}" font-weight="bold">{title}</text><line x1="10" x2="610" y1="{y0}" y2="{y0}" stroke="#888"/>')
        bars = [torch.histc(v.float(), BARS, 0, top) / len(v) for _, _, v in series]
        tallest = float(torch.stack(bars).max())
        for i, ((name, colour, v), share) in enumerate(zip(series, bars)):
            for b, s in enumerate(share.tolist()):
                h = 110 * s / tallest
                parts.append(f'<rect x="{10 + 600 * b / BARS + 9 * i:.1f}" y="{y0 - h:.1f}" width="8" height="{h:.1f}" fill="{colour}"/>')
            parts.append(f'<text x="{380}" y="{y0 - 110 + 16 * i}" fill="{colour}">{name}: median {float(v.median()):.1f}</text>')
        for tick in range(5):
            parts.append(f'<text x="{10 + 150 * tick}" y="{y0 + 16}" font-size="11">{top * tick / 4:.1f}</text>')
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height * len(plots)}" font-family="sans-serif" font-size="13">'
                f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


def main():
    p = argparse.ArgumentParser(description="Measure generated emoji.")
    p.add_argument("input", help="a model, or an .npz of images")
    p.add_argument("--judge", required=True)
    p.add_argument("--data", help="folder of emoji64.npz")
    p.add_argument("--out", required=True, help="the start of the names of what is written")
    p.add_argument("--per-class", type=int, default=50)
    p.add_argument("--steps", type=int, help="of DDIM; 25, or those of a few-step model")
    p.add_argument("--timesteps", type=lambda s: [int(t) for t in s.split(",")], help="DDIM at just these")
    p.add_argument("--bf16", action="store_true", help="evaluate the network in bfloat16")
    p.add_argument("--scale", type=float, default=1.0, help="of classifier-free guidance")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()

    judge, about = judging.load(args.judge)
    if args.input.endswith(".npz"):
        with np.load(args.input) as f:
            images = torch.from_numpy(f["arr_0"]).permute(0, 3, 1, 2).float() / 127.5 - 1
            labels = torch.from_numpy(f["arr_1"]).long()
    else:
        net, meta = checkpoint.load(args.input)
        labels = torch.arange(len(Emoji.class_names)).repeat_interleave(args.per_class)
        images = sample.draw(net, meta, labels, args.steps, args.seed, args.scale, args.timesteps, not args.bf16)
        images = sample.to_u8(images).float() / 127.5 - 1
    result = {"images": len(images), "as_asked": judging.report(judge, about["class_names"], images, labels)}

    with torch.no_grad():
        features = lambda x: torch.cat([judge.features(part) for part in x.split(500)])
        real, train, held = Emoji(args.data, "all"), Emoji(args.data, "train"), Emoji(args.data, "held-out")
        of_real, of_ours = features(real.images), features(images)
        random = torch.Generator().manual_seed(0)
        pairs = {"halves": [halves(real.labels, 10**6, random) for _ in range(5)],
                 "halves_as_few": [halves(real.labels, len(images) // len(Emoji.class_names), random) for _ in range(5)]}
        for name, splits in pairs.items():
            found = [frechet(of_real[i], real.labels[i], of_real[j], real.labels[j]) for i, j in splits]
            result[f"frechet_{name}"] = sum(found) / len(found)
        result["frechet"] = frechet(of_ours, labels, of_real, real.labels)

        known = torch.cat([train.images, train.images.flip(3)])
        of_known = features(known)
        near = {}
        for name, x in (("generated", images), ("held out", held.images)):
            pixels, which = nearest(x.flatten(1), known.flatten(1))
            distance, _ = nearest(features(x), of_known)
            near[name] = (pixels * 127.5, distance, which)
            result["nearest_" + name.replace(" ", "_")] = {"pixels_median": float(pixels.median() * 127.5), "pixels_below_10": float((pixels * 127.5 < 10).float().mean()),
                                                           "pixels_below_20": float((pixels * 127.5 < 20).float().mean()), "features_median": float(distance.median())}
    colours = {"generated": "#c2410c", "held out": "#1d4ed8"}
    svg(args.out + ".svg", [(title, [(name, colours[name], v[k]) for name, v in near.items()])
                            for k, title in enumerate(("Nearest training picture: pixels (root mean square of 255)", "Nearest training picture: the judge's features"))])
    closest = near["generated"][0].argsort()[:8]
    both = torch.stack([images[closest], known[near["generated"][2][closest]]], 1).flatten(0, 1)
    result["nearest_pairs_pixels"] = near["generated"][0][closest].tolist()
    sample.write_png(args.out + "-pairs.png", sample.grid(both, 4))
    with open(args.out + ".json", "w") as f:
        json.dump(result, f, indent=1)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
