"""Fashion-MNIST, read from its four gzipped idx files."""

import gzip
import os

import numpy as np
import torch
import torch.nn.functional as F

FOLDER = "/usr/share/datasets/fashion-mnist"  # where Debian's package dataset-fashion-mnist puts it
IMAGE_SIZE = 32
CLASS_NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def _idx(path):
    """The bytes of an idx file as an array; byte 3 of its header is the number of dimensions."""
    with gzip.open(path) as f:
        raw = f.read()
    dims = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def load(folder, split):
    """(images [N, 1, 32, 32] in [-1, 1], labels [N]); split is 'train' or 't10k'.

    The 28x28 images get a border of two black pixels, so that the side is a power of two.
    """
    images = _idx(os.path.join(folder, f"{split}-images-idx3-ubyte.gz"))
    labels = _idx(os.path.join(folder, f"{split}-labels-idx1-ubyte.gz"))
    border = (IMAGE_SIZE - images.shape[-1]) // 2
    x = torch.from_numpy(images.copy()).float()[:, None] / 127.5 - 1
    return F.pad(x, (border,) * 4, value=-1.0), torch.from_numpy(labels.astype(np.int64))


def shifted(images, most):
    """Each image moved by up to `most` pixels each way, black coming in."""
    n, _, h, w = images.shape
    padded = F.pad(images, (most,) * 4, value=-1.0)
    dy, dx = torch.randint(2 * most + 1, (2, n))
    rows = (torch.arange(h) + dy[:, None])[:, None, :, None]
    cols = (torch.arange(w) + dx[:, None])[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.zeros(1, dtype=torch.long), rows, cols]
