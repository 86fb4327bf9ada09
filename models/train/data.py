"""The training pictures: two data sets behind one interface.

A data set has `class_names`, `channels`, whether its model gets a class of no name (`null_class`), the split not to be learnt (`unseen`), and gives
batches of (images [N, C, side, side] in [-1, 1], labels [N]), augmented, on the device that holds the pictures.
"""

import functools
import gzip
import math
import os
import zlib

import numpy as np
import torch
import torch.nn.functional as F


def shifted(images, most, fill=-1.0):
    """Each image moved by up to `most` pixels each way, `fill` coming in."""
    n, channels, h, w = images.shape
    padded = F.pad(images, (most,) * 4, value=fill)
    count = lambda k: torch.arange(k, device=images.device)
    dy, dx = torch.randint(2 * most + 1, (2, n), device=images.device)
    rows = (count(h) + dy[:, None])[:, None, :, None]
    cols = (count(w) + dx[:, None])[:, None, None, :]
    return padded[count(n)[:, None, None, None], count(channels)[:, None, None], rows, cols]


def _idx(path):
    """The bytes of an idx file as an array; byte 3 of its header is the number of dimensions."""
    with gzip.open(path) as f:
        raw = f.read()
    dims = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


class Fashion:
    """Fashion-MNIST, read from its four gzipped idx files; the splits are 'train' and 't10k'."""

    folder = "/usr/share/datasets/fashion-mnist"  # where Debian's package dataset-fashion-mnist puts it
    channels, null_class, unseen = 1, False, "t10k"
    class_names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

    def __init__(self, folder=None, split="train", side=32, device="cpu"):
        """The 28x28 images get a border of two black pixels, so that the side is a power of two."""
        folder = folder or self.folder
        images = _idx(os.path.join(folder, f"{split}-images-idx3-ubyte.gz"))
        labels = _idx(os.path.join(folder, f"{split}-labels-idx1-ubyte.gz"))
        x = torch.from_numpy(images.copy()).float()[:, None] / 127.5 - 1
        x = F.pad(x, ((32 - images.shape[-1]) // 2,) * 4, value=-1.0)
        self.images = (F.interpolate(x, (side, side), mode="area") if side < 32 else x).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)

    @classmethod
    def judged(cls, folder):
        """What a judge learns from, and what it is measured on."""
        return cls(folder), cls(folder, "t10k")

    def batch(self, count):
        pick = torch.randint(len(self.images), (count,), device=self.labels.device)
        return self.images[pick], self.labels[pick]


class Emoji:
    """The emoji pictures that emoji/build.py makes.

    The splits are by code point, the same drawing of all vendors and skin tones on one side: 'train', and 'held-out'
    (about one in sixteen); 'all' is both, 'noto' and 'not noto' are by vendor.
    """

    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "emoji")
    channels, null_class, unseen = 3, True, "held-out"
    class_names = ["face", "animal face", "animal", "heart", "hand", "person", "plant", "fruit & veg", "food & drink", "vehicle",
                   "place", "sky & weather"]

    def __init__(self, folder=None, split="train", side=32, device="cpu"):
        with np.load(os.path.join(folder or self.folder, "emoji64.npz")) as f:
            d = {k: f[k] for k in f}
        names = d["class_names"][d["labels"]]
        held = np.array([zlib.crc32(c.encode()) % 16 == 0 for c in d["codepoint"]])
        noto = np.char.startswith(d["set"], "noto")
        keep = np.isin(names, self.class_names) & {"train": ~held, "held-out": held, "all": True, "noto": noto, "not noto": ~noto}[split]
        self.side, self.vendor = side, d["set"][keep]
        self.large = torch.from_numpy(d["images"][keep]).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.tensor([self.class_names.index(n) for n in names[keep]]).to(device)
        self.by_class, self.counts = self.labels.argsort(), self.labels.bincount(minlength=len(self.class_names))

    @classmethod
    def judged(cls, folder):
        """What a judge learns from, and what it is measured on."""
        return cls(folder, "not noto"), cls(folder, "noto")

    @property
    def images(self):
        return self.reduced(self.large.float() / 127.5 - 1)

    def reduced(self, x):
        return F.avg_pool2d(x, 64 // self.side) if self.side < 64 else x

    def batch(self, count):
        """Classes evenly; mirrored (not places, which carry signs), smaller or larger, moved; hearts of any hue."""
        rand = functools.partial(torch.rand, device=self.labels.device)
        y = torch.randint(len(self.class_names), (count,), device=self.labels.device)
        pick = self.by_class[(self.counts.cumsum(0) - self.counts)[y] + (rand(count) * self.counts[y]).long()]
        x = self.large[pick].float() / 127.5  # 0 to 2, so that what comes in from outside is white after 1 - x
        turn = (y == self.class_names.index("heart")) & (rand(count) < 0.6)
        x = torch.where(turn[:, None, None, None], hue_turned(x / 2, rand(count) * 2 * math.pi) * 2, x)
        mirror = torch.where((rand(count) < 0.5) & (y != self.class_names.index("place")), -1.0, 1.0)
        moved = (rand(count) < 0.7).float()  # the rest stay as sharp as they are
        scale = 1 + moved * (rand(count) * 0.16 - 0.04)  # of the grid: above 1 the picture gets smaller
        shift = moved[:, None] * (rand(count, 2) - 0.5) * (4 / 64) * 2
        theta = torch.zeros(count, 2, 3, device=y.device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = mirror * scale, scale, shift
        grid = F.affine_grid(theta, x.shape, align_corners=False)
        return self.reduced(1 - F.grid_sample(2 - x, grid, align_corners=False)), y


@functools.cache
def yiq(device):
    """The matrix from RGB to luma and two chroma values, and its inverse."""
    to = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    return to.to(device), torch.linalg.inv(to).to(device)


def hue_turned(x, angle):
    """RGB in [0, 1] turned about the grey axis, luma kept."""
    to, back = yiq(x.device)
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([i, o, o, o, c, -s, o, s, c], 1).view(-1, 3, 3)
    return torch.einsum("nij,njhw->nihw", back @ turn @ to, x).clamp(0, 1)


FAMILIES = {"fashion": Fashion, "emoji": Emoji}
