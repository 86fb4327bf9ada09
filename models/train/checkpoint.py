"""Model files: safetensors with the network's and the process's configuration as JSON metadata.

The metadata's key is `adm`.  Its object holds `kind` (diffusion, upsampler or classifier), the
fields of `network.Config`, diffusion_steps, noise_schedule, learn_sigma, predict_xstart,
train_images (how many were seen), class_names, and `family`, the data set in data.py.  A model
that was trained without a class too has `null_class`, the last one, for classifier-free guidance.
An upsampler has `small_size`, the side of its input.  A model that does best at few timesteps has `few_step`: its sampler and
those timesteps; for other numbers of steps, `grids` has timesteps by their number.
"""

import dataclasses
import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data import FAMILIES
from diffusion import Diffusion
from network import Classifier, Config, UNet

DTYPES = {"f32": torch.float32, "f16": torch.float16}
STEPS, SCHEDULE = 1000, "cosine"


def save(path, state, kind, family, config, train_images, dtype="f32", predict_xstart=True, **more):
    process = {"diffusion_steps": STEPS, "noise_schedule": SCHEDULE, "learn_sigma": kind != "classifier",
               "predict_xstart": predict_xstart and kind != "classifier"}
    meta = {"kind": kind, "family": family, **dataclasses.asdict(config), **process, "train_images": train_images,
            "class_names": class_names(family, kind), **more}
    if FAMILIES[family].null_class and config.num_classes:
        meta["null_class"] = config.num_classes - 1
    tensors = {name: tensor.detach().to("cpu", DTYPES[dtype]).contiguous() for name, tensor in state.items()}
    save_file(tensors, f"{path}.part", {"adm": json.dumps(meta)})
    os.replace(f"{path}.part", path)


def class_names(family, kind="diffusion"):
    """The names, with the last of a model that was trained with a class of no name too: any of them."""
    known = FAMILIES[family]
    return known.class_names + ["any"] * (known.null_class and kind != "classifier")


def load(path):
    """(network in float32, ready to evaluate; metadata)."""
    with safe_open(path, "pt") as f:
        meta = json.loads(f.metadata()["adm"])
    net = (Classifier if meta["kind"] == "classifier" else UNet)(Config.from_metadata(meta))
    net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return net.eval(), meta


def process(meta, keep=None):
    """The diffusion process a file was trained for, on the kept timesteps."""
    return Diffusion(meta["diffusion_steps"], meta["noise_schedule"], keep, meta["predict_xstart"], meta["learn_sigma"])
