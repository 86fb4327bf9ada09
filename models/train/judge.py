"""Train the judge: a small plain CNN that says what a clean Fashion-MNIST image shows.

    python judge.py --out ../../tests/fixtures/judge.safetensors

Tests ask it whether generated images are what was asked for, so it is kept simple enough to be
evaluated by a few lines of any language: 3x3 convolutions with bias, ReLU, 2x2 max pooling and
one linear layer.  Batch normalization serves training alone and is folded into the convolutions.

The file's metadata holds, as JSON under the key `judge`, the layers in order:

    {"op": "conv", "name": N}     3x3, zero padding 1, weight N.weight [out, in, 3, 3], bias N.bias; then ReLU
    {"op": "max_pool"}            2x2, stride 2
    {"op": "linear", "name": N}   of the C x H x W features flattened in that order -> logits

and the input's size, the class names and the accuracy on the 10,000 real test images.
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

WIDTHS = (16, "pool", 32, 32, "pool", 64, 64, "pool")


class Judge(nn.Module):
    """The plain network, as the file describes it."""

    def __init__(self, widths=WIDTHS, classes=10):
        super().__init__()
        self.layers, ch, side = [], 1, data.IMAGE_SIZE
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

    def forward(self, x, norms=None):
        for layer in self.layers:
            if layer["op"] == "max_pool":
                x = F.max_pool2d(x, 2)
            elif layer["op"] == "conv":
                x = getattr(self, layer["name"])(x)
                x = F.relu(norms[layer["name"]](x) if norms else x)
            else:
                x = F.dropout(x.flatten(1), 0.3, self.training)
                x = getattr(self, layer["name"])(x)
        return x


def load(path):
    """The judge in a file, ready to use, and its description."""
    with safe_open(path, "pt") as f:
        about = json.loads(f.metadata()["judge"])
    judge = Judge()
    assert judge.layers == about["layers"], f"{path} describes another network than judge.py"
    judge.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return judge.eval(), about


def fold(judge, norms):
    """Move each batch normalization (running statistics) into its convolution."""
    with torch.no_grad():
        for name, norm in norms.items():
            conv, scale = getattr(judge, name), norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.mul_(scale[:, None, None, None])
            conv.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)


def accuracy(judge, images, labels):
    with torch.no_grad():
        hits = [(judge(x).argmax(1) == y).sum() for x, y in zip(images.split(500), labels.split(500))]
    return float(sum(hits)) / len(images)


def main():
    p = argparse.ArgumentParser(description="Train the judge of generated images.")
    p.add_argument("--data", default=data.FOLDER, help="folder of Fashion-MNIST's four idx files")
    p.add_argument("--out", required=True)
    p.add_argument("--epochs", type=int, default=7)
    p.add_argument("--batch", type=int, default=200)
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()

    torch.manual_seed(args.seed)
    images, labels = data.load(args.data, "train")
    judge = Judge().to(memory_format=torch.channels_last)
    norms = nn.ModuleDict({l["name"]: nn.BatchNorm2d(getattr(judge, l["name"]).out_channels) for l in judge.layers if l["op"] == "conv"})
    parameters = [*judge.parameters(), *norms.parameters()]
    steps = len(images) // args.batch
    opt = torch.optim.AdamW(parameters, args.lr, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, total_steps=args.epochs * steps, pct_start=0.2)
    start, compiled = time.process_time(), torch.compile(judge)
    for epoch in range(args.epochs):
        judge.train(), norms.train()
        total = 0.0
        for pick in torch.randperm(len(images))[: steps * args.batch].split(args.batch):
            x = data.shifted(images[pick], 2).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = compiled(x, norms)
            loss = F.cross_entropy(logits.float(), labels[pick], label_smoothing=0.05)
            opt.zero_grad()
            loss.backward()
            opt.step()
            rate.step()
            total += loss.item()
        print(f"epoch {epoch + 1}  loss {total / steps:.4f}  cpu {(time.process_time() - start) / 60:.1f} min", flush=True)

    judge.eval(), norms.eval()
    fold(judge, norms)
    test = accuracy(judge, *data.load(args.data, "t10k"))
    about = {"input": [1, data.IMAGE_SIZE, data.IMAGE_SIZE], "range": [-1, 1], "layers": judge.layers,
             "class_names": data.CLASS_NAMES, "test_accuracy": test, "train_epochs": args.epochs}
    save_file({k: v.contiguous() for k, v in judge.state_dict().items()}, args.out, {"judge": json.dumps(about)})
    count = sum(v.numel() for v in judge.parameters())
    print(f"{args.out}: {count} parameters, right on {100 * test:.2f} % of the real test images")


if __name__ == "__main__":
    main()
