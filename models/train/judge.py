"""Train a judge: a small plain CNN that says what a clean image of a data set shows.

    python judge.py fashion --out ../../tests/fixtures/judge.safetensors
    python judge.py emoji   --out ../../tests/fixtures/judge-emoji.safetensors

That of emoji never sees Noto's drawings, two in five of all, and is measured on them: a vendor's drawings of one
code point are too alike for a fair test among themselves.

Tests ask it whether generated images are what was asked for, so it is kept simple enough to be
evaluated by a few lines of any language: 3x3 convolutions with bias, ReLU, 2x2 max pooling and
one linear layer.  Batch normalization is for training only and is folded into the convolutions.

The file's metadata holds, as JSON under the key `judge`, the layers in order:

    {"op": "conv", "name": N}     3x3, zero padding 1, weight N.weight [out, in, 3, 3], bias N.bias; then ReLU
    {"op": "max_pool"}            2x2, stride 2
    {"op": "linear", "name": N}   of the C x H x W features flattened in that order -> logits

and the input's size, the class names and the accuracy on the real test images (of emoji, the mean of the classes' too).
"""

import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import data

WIDTHS = {"fashion": (16, "pool", 32, 32, "pool", 64, 64, "pool"),
          "emoji": (32, "pool", 48, 48, "pool", 96, "pool", 96, "pool", 96, "pool")}


class Judge(nn.Module):
    """The plain network, as the file describes it."""

    def __init__(self, widths, channels, classes, side=32):
        super().__init__()
        self.layers, ch = [], channels
        for width in widths:
            if width == "pool":
                self.layers.append({"op": "max_pool"})
                side //= 2
            else:
                name = f"conv{sum(l['op'] == 'conv' for l in self.layers) + 1}"
                self.add_module(name, nn.Conv2d(ch, width, 3, padding=1))
                self.layers.append({"op": "conv", "name": name})
                ch = width
        self.linear = nn.Linear(ch * side**2, classes)
        self.layers.append({"op": "linear", "name": "linear"})

    def features(self, x):
        """What the last layer reads."""
        return self(x, last=False)

    def forward(self, x, norms=None, last=True):
        for layer in self.layers:
            if layer["op"] == "max_pool":
                x = F.max_pool2d(x, 2)
            elif layer["op"] == "conv":
                x = getattr(self, layer["name"])(x)
                x = F.relu(norms[layer["name"]](x) if norms else x)
            else:
                x = F.dropout(x.flatten(1), 0.3, self.training)
                x = getattr(self, layer["name"])(x) if last else x
        return x


def load(path):
    """The judge in a file, ready to use, and its description."""
    with safe_open(path, "pt") as f:
        about = json.loads(f.metadata()["judge"])
    state = {k: v.float() for k, v in load_file(path).items()}
    widths = [state[f"{l['name']}.weight"].shape[0] if l["op"] == "conv" else "pool" for l in about["layers"][:-1]]
    channels, side, _ = about["input"]
    judge = Judge(widths, channels, len(about["class_names"]), side)
    assert judge.layers == about["layers"], f"{path} describes another network than judge.py"
    judge.load_state_dict(state)
    return judge.eval(), about


def fold(judge, norms):
    """Move each batch normalization (running statistics) into its convolution."""
    with torch.no_grad():
        for name, norm in norms.items():
            conv, scale = getattr(judge, name), norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.mul_(scale[:, None, None, None])
            conv.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)


@torch.no_grad()
def accuracy(judge, images, labels):
    """The share of images labelled right, and the mean of the classes' shares."""
    hit = torch.cat([judge(x).argmax(1) for x in images.split(500)]) == labels
    return float(hit.float().mean()), float(torch.stack([hit[labels == c].float().mean() for c in labels.unique()]).mean())


def report(judge, names, images, labels):
    """Print what the judge says of images that were to show labels; the share labelled so."""
    with torch.no_grad():
        found = torch.cat([judge(x).argmax(1) for x in images.split(500)])
    for c, name in enumerate(names):
        own = found[labels == c]
        wrong = ", ".join(f"{names[k]} {n}" for k, n in enumerate(own.bincount(minlength=len(names))) if n and k != c)
        print(f"{name:14} {(own == c).sum():4} of {len(own)}   {'taken for: ' + wrong if wrong else ''}")
    share = float((found == labels).float().mean())
    print(f"as asked: {share:.3f} of {len(labels)}")
    return share


def varied(family, x):
    """More variation than a diffusion model may see: shifts and, of emoji, colours, size and missing squares."""
    if family == "fashion":
        return data.shifted(x, 2)
    n = len(x)
    x = data.shifted(x, 3, fill=1.0)
    tint = 1 + 0.3 * (torch.rand(n, 3, 1, 1, device=x.device) - 0.5)
    x = 1 - (1 - x) * tint
    along = torch.arange(32, device=x.device)
    rows, cols = along.view(1, 1, 32, 1), along.view(1, 1, 1, 32)
    y, z = torch.randint(-4, 32, (2, n, 1, 1, 1), device=x.device)
    hole = (rows >= y) & (rows < y + 8) & (cols >= z) & (cols < z + 8)
    return torch.where(hole, 1.0, x)


def main():
    p = argparse.ArgumentParser(description="Train a judge of generated images.")
    p.add_argument("family", choices=data.FAMILIES)
    p.add_argument("--data", help="the data set's folder, if not the usual one")
    p.add_argument("--out", required=True)
    p.add_argument("--images", type=int, help="how many are seen (default: 420,000 and 240,000)")
    p.add_argument("--batch", type=int, default=200)
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()

    torch.manual_seed(args.seed)
    known = data.FAMILIES[args.family]
    train, test = known.judged(args.data)
    judge = Judge(WIDTHS[args.family], known.channels, len(known.class_names)).to(memory_format=torch.channels_last)
    norms = nn.ModuleDict({l["name"]: nn.BatchNorm2d(getattr(judge, l["name"]).out_channels) for l in judge.layers if l["op"] == "conv"})
    parameters = [*judge.parameters(), *norms.parameters()]
    steps = (args.images or {"fashion": 420_000, "emoji": 240_000}[args.family]) // args.batch
    opt = torch.optim.AdamW(parameters, args.lr, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, total_steps=steps, pct_start=0.2)
    start, total = time.process_time(), 0.0
    judge.train(), norms.train()
    for step in range(steps):
        x, y = train.batch(args.batch)
        x = varied(args.family, x).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = judge(x, norms)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=0.05)
        opt.zero_grad()
        loss.backward()
        opt.step()
        rate.step()
        total += loss.item()
        if step % 100 == 99:
            print(f"step {step + 1}  loss {total / 100:.4f}  cpu {(time.process_time() - start) / 60:.1f} min", flush=True)
            total = 0.0

    judge.eval(), norms.eval()
    fold(judge, norms)
    right, balanced = accuracy(judge, test.images, test.labels)
    about = {"input": [known.channels, 32, 32], "range": [-1, 1], "layers": judge.layers, "class_names": known.class_names,
             "test_accuracy": right, "test_accuracy_balanced": balanced, "train_images": steps * args.batch}
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, args.out, {"judge": json.dumps(about)})
    count = sum(v.numel() for v in judge.parameters())
    print(f"{args.out}: {count} parameters, right on {100 * right:.2f} % of {len(test.labels)} real test images, "
          f"{100 * balanced:.2f} % the mean of the classes")


if __name__ == "__main__":
    main()
