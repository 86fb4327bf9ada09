"""Train one of the built-in models on the CPU.

    python train.py fashion diffusion  --out ../fashion32.safetensors            --hours 2    --dtype f16
    python train.py fashion classifier --out ../fashion32-classifier.safetensors --hours 0.25 --dtype f16
    python train.py fashion low-res    --out ../fashion16.safetensors            --hours 1    --dtype f16
    python train.py fashion upsampler  --out ../fashion16-to-32.safetensors      --hours 1.25 --dtype f16
    python train.py emoji diffusion    --out ../emoji32.safetensors              --hours 2    --dtype f16
    python train.py emoji few-step     --out ../emoji32-few.safetensors          --hours 0.5  --dtype f16 --init ../emoji32.safetensors

low-res and upsampler are a two-stage stack: a diffusion model of reduced images, and an upsampler
of them, whose low-resolution inputs in training are reduced training images.

The learning rate warms up, stays, and falls linearly over the last part of --hours (wall clock,
as a shared machine does not say beforehand how many steps it will give).  A file named after
--out with `.decay` appended starts the fall at once.  The moving average of the weights is what is
written; every few minutes, with `.pt` beside it, from which the same command continues.

On a busy machine several processes of one thread, which synchronise once per step, get more done than several threads, which
meet at each operation: `torchrun --nproc-per-node 2 train.py ...` trains on two batches a step.
"""

import argparse
import copy
import os
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import checkpoint
import data
from diffusion import Diffusion
from few_step import Trajectories
from muon import optimizers
from network import AttentionBlock, Classifier, Config, Stage, UNet

# 64 channels are the fewest that work: with 32, each of group normalization's 32 groups is one
# channel, the norms remove every channel's mean, and the network cannot see an image's brightness.
SHAPE = dict(model_channels=64, num_res_blocks=1, num_head_channels=32)
WHOLE = dict(image_size=32, channel_mult=(1, 1, 2), **SHAPE)
ATTENTION = {"fashion": (16, 8), "emoji": (8,)}  # at 16 it is a quarter of the time, and emoji do well without it
NULL_SHARE = 0.1  # of the batch that is shown the class of no name, where there is one


def config(family, kind):
    """A model's shape."""
    known = data.FAMILIES[family]
    ends = dict(in_channels=known.channels, out_channels=2 * known.channels, num_classes=len(checkpoint.class_names(family)))
    if kind == "classifier":
        return Config(**{**ends, "out_channels": len(known.class_names), "num_classes": 0}, pool="attention", attention_resolutions=ATTENTION[family], **WHOLE)
    if kind == "low-res":
        return Config(**ends, image_size=16, channel_mult=(1, 2), attention_resolutions=(8,), **SHAPE)
    if kind == "upsampler":
        side = {"fashion": 32, "emoji": 64}[family]
        return Config(**{**ends, "in_channels": 2 * known.channels}, image_size=side, channel_mult=(1, 2), attention_resolutions=(16,), **SHAPE)
    return Config(**ends, attention_resolutions=ATTENTION[family], **WHOLE)


SAVE_EVERY, SHOW_EVERY = 180, 60  # seconds


def batch_loss(kind, net, process, x0, y, guidance=1.0):
    """One batch's loss; its timesteps are spread evenly over the process.

    With guidance the network learns what classifier-free guidance at that scale would make of it, from
    the class of no name, its last one (Tang et al. 2025): the image is moved by what the class changes.
    """
    n, steps = len(x0), len(process.timesteps)
    t = ((torch.randperm(n) + torch.rand(n)) * (steps / n)).long().clamp(max=steps - 1)
    noise = torch.randn_like(x0)
    xt = process.noised(x0, t, noise).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        if kind == "classifier":
            out = net(xt, t)
        elif kind == "upsampler":
            out = net(xt, t, y, F.avg_pool2d(x0, 2))
        else:
            out = net(xt, t, y)
    if kind == "classifier":
        return F.cross_entropy(out.float(), y)
    goal = x0
    if guidance > 1:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            of_any = net(xt, t, torch.full_like(y, net.config.num_classes - 1))
        change = (out.detach() - of_any).float().chunk(2, dim=1)[0]
        goal = (x0 + (1 - 1 / guidance) * change).clamp(-1, 1)
    return process.loss(out.float(), x0, xt, t, noise, goal)


def fitted(start, net):
    """A state dict for net from another family's network: repeated over colour channels, classes and attention as net has them.

    Clothes lie on black and emoji on white, so what enters and leaves is negated.
    """
    own, channels = net.state_dict(), net.config.in_channels
    for blocks, own_blocks in ((start.input_blocks, net.input_blocks), (start.output_blocks, net.output_blocks)):
        for i, stage in enumerate(blocks):
            if len(stage) > len(own_blocks[i]):
                blocks[i] = Stage(*(layer for layer in stage if not isinstance(layer, AttentionBlock)))
    state = start.state_dict()
    if state["out.2.weight"].shape == own["out.2.weight"].shape:
        return state
    state["input_blocks.0.0.weight"] = -state["input_blocks.0.0.weight"].repeat(1, channels, 1, 1) / channels
    sign = torch.tensor([-1.0, 1.0]).repeat_interleave(channels)
    for part in ("weight", "bias"):
        out = state[f"out.2.{part}"].repeat_interleave(channels, 0)
        state[f"out.2.{part}"] = out * sign.view(-1, *[1] * (out.dim() - 1))
    state["label_emb.weight"] = state["label_emb.weight"].mean(0) + 0.5 * own["label_emb.weight"]
    return state


class Schedule:
    """The fraction of the full learning rate: warm-up by steps, decay by the clock."""

    def __init__(self, args, spent):
        self.warmup, self.final = args.warmup, args.decay_to
        self.decay = args.decay_hours * 3600
        self.start = time.time() + args.hours * 3600 - self.decay - spent
        self.trigger = args.out + ".decay"

    def __call__(self, step):
        """None when training is over."""
        if os.path.exists(self.trigger):
            os.remove(self.trigger)
            self.start = min(self.start, time.time())
        left = min(1.0, 1 - (time.time() - self.start) / self.decay)
        if left <= 0:
            return None
        return min(1, (step + 1) / self.warmup) * (self.final + (1 - self.final) * left)


def agreed(rate, workers):
    """The first worker's rate, since clocks and files may differ between them."""
    if workers == 1:
        return rate
    shared = torch.tensor([-1.0 if rate is None else rate])
    dist.broadcast(shared, 0)
    return None if shared < 0 else shared.item()


def average_gradients(net, workers):
    if workers > 1:
        grads = [p.grad for p in net.parameters()]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        torch._foreach_copy_(grads, [f.view_as(g) for f, g in zip(flat.div_(workers).split([g.numel() for g in grads]), grads)])


def arguments():
    p = argparse.ArgumentParser(description="Train a built-in model.")
    p.add_argument("family", choices=data.FAMILIES)
    p.add_argument("kind", choices=["diffusion", "few-step", "classifier", "low-res", "upsampler"])
    p.add_argument("--data", help="the data set's folder, if not the usual one")
    p.add_argument("--out", required=True, help="the .safetensors file to write")
    p.add_argument("--dtype", choices=checkpoint.DTYPES, default="f32", help="how the weights are stored")
    p.add_argument("--hours", type=float, default=2.0, help="wall clock, all runs of this file together")
    p.add_argument("--decay-hours", type=float, help="the part in which the rate falls (default: a quarter)")
    p.add_argument("--decay-to", type=float, default=0.02, help="fraction of the rate at the end")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--muon-lr", type=float, default=1.5e-3)
    p.add_argument("--adam-lr", type=float, default=6e-4)
    p.add_argument("--warmup", type=int, default=100, help="steps")
    p.add_argument("--ema", type=float, default=0.999, help="decay of the moving average")
    p.add_argument("--init", help="a .safetensors file of the same kind to start from, of either family")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--guidance", type=float, default=1.0, help="a scale of classifier-free guidance to be learnt")
    p.add_argument("--timesteps", type=lambda s: [int(t) for t in s.split(",")],
                   help="those that sampling visits by default; few-step: that it learns to visit (999,600)")
    p.add_argument("--between", type=int, default=4, help="few-step: the teacher's steps for one of the student's")
    p.add_argument("--scale", type=float, default=1.0, help="few-step: the teacher's guidance")
    p.add_argument("--uses", type=int, default=3, help="few-step: how often a solution of the teacher's is learnt from")
    args = p.parse_args()
    if args.kind == "few-step" and not args.init:
        p.error("few-step needs its teacher, --init FILE")
    if args.kind == "few-step" and not args.timesteps:
        args.timesteps = [999, 600]
    args.decay_hours = args.decay_hours or args.hours / 4
    return args


def main():
    args = arguments()
    rank, workers = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if workers > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(args.seed)
    shape, process = config(args.family, args.kind), Diffusion(checkpoint.STEPS, checkpoint.SCHEDULE)
    net = (Classifier if args.kind == "classifier" else UNet)(shape)
    seen = step = spent = 0
    if args.init:
        start, meta = checkpoint.load(args.init)
        start = start.to(memory_format=torch.channels_last)
        net.load_state_dict(fitted(start, net))
        seen = meta["train_images"] * (meta.get("family", "fashion") == args.family)
    net = net.to(memory_format=torch.channels_last)
    opts = optimizers(net, args.muon_lr, args.adam_lr, 0.05 if args.kind == "classifier" else 0.0)
    ema, saved = copy.deepcopy(net).eval(), args.out + ".pt"
    if os.path.exists(saved):
        state = torch.load(saved)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        for (opt, _), s in zip(opts, state["opts"]):
            opt.load_state_dict(s)
        seen, step, spent = state["seen"], state["step"], state["spent"]
    torch.manual_seed(args.seed + step * workers + rank)
    if args.kind == "few-step":
        trajectories = Trajectories(start, process, args.timesteps, args.between, args.scale, args.uses)
    pictures = data.FAMILIES[args.family](args.data, "train", shape.image_size)
    schedule, began, cpu = Schedule(args, spent), time.time(), time.process_time()

    def save():
        if rank:
            return
        kind = "diffusion" if args.kind in ("low-res", "few-step") else args.kind
        more = {"few_step": {"sampler": "ddim", "timesteps": args.timesteps}} if args.timesteps else {}
        if args.guidance > 1:
            more["guidance_learnt"] = args.guidance
        checkpoint.save(args.out, ema.state_dict(), kind, args.family, shape, seen, args.dtype, **more)
        torch.save({"net": net.state_dict(), "ema": ema.state_dict(), "opts": [o.state_dict() for o, _ in opts], "seen": seen,
                    "step": step, "spent": spent + time.time() - began}, saved)

    shown, last_save, losses = time.time(), time.time(), []
    while (rate := agreed(schedule(step), workers)) is not None:
        for opt, lr in opts:
            for group in opt.param_groups:
                group["lr"] = lr * rate
            opt.zero_grad()
        if args.kind == "few-step":
            size = (args.batch, pictures.channels, shape.image_size, shape.image_size)
            loss = trajectories.loss(net, size, shape.num_classes)
        else:
            images, labels = pictures.batch(args.batch)
            if pictures.null_class and args.kind != "classifier":
                labels[torch.rand(args.batch) < NULL_SHARE] = shape.num_classes - 1
            loss = batch_loss(args.kind, net, process, images, labels, args.guidance)
        loss.backward()
        average_gradients(net, workers)
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)
        for opt, _ in opts:
            opt.step()
        step, seen = step + 1, seen + args.batch * workers
        with torch.no_grad():  # a shorter average at first, so that the start is forgotten
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - min(args.ema, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if rank == 0 and (now := time.time()) - shown > SHOW_EVERY:
            mean, speed = sum(losses) / len(losses), len(losses) * args.batch * workers / (now - shown)
            print(f"step {step}  images {seen}  loss {mean:.4f}  gradient {norm:.2f}  rate {rate:.3f}  "
                  f"{speed:.0f} images/s  cpu {(time.process_time() - cpu) / 60:.0f} min", flush=True)
            shown, losses = now, []
        if time.time() - last_save > SAVE_EVERY:
            save()
            last_save = time.time()
    save()
    if workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
