"""Write the golden images of a built-in diffusion model, for tests of other implementations.

    python golden.py ../fashion32.safetensors ../../tests/fixtures/builtin.safetensors

The images are the DDIM sampler's own values after 25 steps, in float32, evaluated in float32
from the weights as stored.  The starting noise is not stored: `stream_noise("start", shape)`
below defines it bit for bit, in integers and exactly rounded float32 operations.

Tensors: `images` [4, 1, 32, 32] (NCHW) float32, `labels` [4] int32.  The metadata's key `golden`
says the rest as JSON, with the model file's sha256.
"""

import argparse
import hashlib
import json
import math

import numpy as np
import torch
from safetensors.torch import save_file

import checkpoint
from diffusion import ddim_timesteps

LABELS, STEPS = [0, 3, 7, 9], 25


def stream_uniform(name, count, seed=0):
    """`count` float32 in [0, 1): splitmix64's outputs 1, 2, ... from the state fnv1a64(name) ^ seed."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(key ^ seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def stream_noise(name, shape, seed=0):
    """Close to standard normal: ((u0 + u1) + (u2 + u3) - 2) sqrt(3), u_k from the streams NAME#k."""
    u0, u1, u2, u3 = (stream_uniform(f"{name}#{k}", math.prod(shape), seed) for k in range(4))
    return (((u0 + u1) + (u2 + u3) - np.float32(2)) * np.float32(math.sqrt(3))).reshape(shape)


def main():
    p = argparse.ArgumentParser(description="Write a model's golden images.")
    p.add_argument("model")
    p.add_argument("out")
    args = p.parse_args()

    net, meta = checkpoint.load(args.model)
    process = checkpoint.process(meta, ddim_timesteps(meta["diffusion_steps"], STEPS))
    shape, labels = (len(LABELS), meta["in_channels"], meta["image_size"], meta["image_size"]), torch.tensor(LABELS)
    images = process.ddim(lambda x, t: net(x, t, labels), torch.from_numpy(stream_noise("start", shape)))
    with open(args.model, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    about = {"sampler": f"ddim{STEPS}", "eta": 0, "clip": True, "layout": "NCHW", "noise": "start", "seed": 0, "model_sha256": digest}
    save_file({"images": images.float().contiguous(), "labels": labels.int()}, args.out, {"golden": json.dumps(about)})


if __name__ == "__main__":
    main()
