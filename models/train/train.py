"""Train one of the built-in models, on a GPU of NVIDIA's if there is one, else on the CPU.

    python train.py fashion diffusion  --out ../fashion32.safetensors            --hours 2    --dtype f16
    python train.py fashion classifier --out ../fashion32-classifier.safetensors --hours 0.25 --dtype f16
    python train.py fashion low-res    --out ../fashion16.safetensors            --hours 1    --dtype f16
    python train.py fashion upsampler  --out ../fashion16-to-32.safetensors      --hours 1.25 --dtype f16
    python train.py emoji diffusion    --out ../emoji32.safetensors              --hours 2    --dtype f16
    python train.py emoji few-step     --out ../emoji32-few.safetensors          --hours 0.5  --dtype f16 --init ../emoji32.safetensors

low-res and upsampler are a two-stage stack: a diffusion model of reduced images, and an upsampler of
them, whose low-resolution inputs in training are reduced training images, somewhat blurred and noisy.

The learning rate warms up, stays, and falls linearly over the last part of --hours (wall clock,
as a shared machine does not say beforehand how many steps it will give).  A file named after
--out with `.decay` appended starts the fall at once.  The moving average of the weights is what is
written; every few minutes, with `.pt` beside it, from which the same command continues.

On a GPU give a larger --batch (256 to 1024), with rates higher by less than its root: for 512, --muon-lr 2.5e-3 --adam-lr 1e-3.
Before the first step torch.compile works on the network, for up to minutes; the clock runs meanwhile.

On a busy machine several processes of one thread, which synchronise once per step, get more done than several threads, which
meet at each operation: `torchrun --nproc-per-node 2 train.py ...` trains on two batches a step.
"""

import argparse
import copy
import dataclasses
import math
import os
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import checkpoint
import data
import judge
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
        side, widths = {"fashion": (32, (1, 2)), "emoji": (64, (1, 1, 2))}[family]
        return Config(**{**ends, "in_channels": 2 * known.channels}, image_size=side, channel_mult=widths, attention_resolutions=(16,), **SHAPE)
    return Config(**ends, attention_resolutions=ATTENTION[family], **WHOLE)


SAVE_EVERY, SHOW_EVERY = {"cpu": 180, "cuda": 60}, {"cpu": 60, "cuda": 10}  # seconds


def roughened(low):
    """Low-resolution images as a first stage may give them: up to somewhat blurred, up to a little noisy."""
    blurred = F.avg_pool2d(F.pad(low, (1,) * 4, mode="replicate"), 3, 1)
    blur, noise = torch.rand(2, len(low), 1, 1, 1, device=low.device)
    return (low + 0.6 * blur * (blurred - low) + 0.08 * noise * torch.randn_like(low)).clamp(-1, 1)


def batch_loss(kind, net, process, x0, y, guidance=1.0):
    """One batch's loss; its timesteps are spread evenly over the process.

    With guidance the network learns what classifier-free guidance at that scale would make of it, from
    the class of no name, its last one (Tang et al. 2025): the image is moved by what the class changes.
    """
    n, steps, device = len(x0), len(process.timesteps), x0.device
    t = ((torch.arange(n, device=device) + torch.rand(n, device=device)) * (steps / n)).long().clamp(max=steps - 1)
    noise = torch.randn_like(x0)
    xt = process.noised(x0, t, noise).to(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        if kind == "classifier":
            out = net(xt, t)
        elif kind == "upsampler":
            out = net(xt, t, y, roughened(F.avg_pool2d(x0, 2)))
        else:
            out = net(xt, t, y)
    if kind == "classifier":
        return F.cross_entropy(out.float(), y)
    goal = x0
    if guidance > 1:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            of_any = net(xt, t, torch.full_like(y, net.config.num_classes - 1))
        change = (out.detach() - of_any).float().chunk(2, dim=1)[0]
        goal = (x0 + (1 - 1 / guidance) * change).clamp(-1, 1)
    return process.loss(out.float(), x0, xt, t, noise, goal)


@torch.no_grad()
def held_out(classifier, process, pictures):
    """The share of unseen pictures, one noise for each, that a classifier of noisy images labels right, at some timesteps."""
    shares = []
    for step in range(0, len(process.timesteps), 200):
        right = 0
        for x, y in zip(pictures.images.split(500), pictures.labels.split(500)):
            t = torch.full_like(y, step)
            with torch.autocast(x.device.type, torch.bfloat16):
                right += (classifier(process.noised(x, t, torch.randn_like(x)), t).argmax(1) == y).sum()
        shares.append(f"{step}: {right / len(pictures.labels):.3f}")
    return "  ".join(shares)


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
    """The fraction of the full learning rate: warm-up by steps, decay by the clock, or by --steps if these end sooner."""

    def __init__(self, args, spent):
        self.warmup, self.final, self.steps = args.warmup, args.decay_to, args.steps
        self.decay = args.decay_hours * 3600
        self.start = time.time() + args.hours * 3600 - self.decay - spent
        self.trigger = args.out + ".decay"

    def __call__(self, step):
        """None when training is over."""
        if os.path.exists(self.trigger):
            os.remove(self.trigger)
            self.start = min(self.start, time.time())
        left = min(1.0, 1 - (time.time() - self.start) / self.decay, (self.steps - step) / self.steps * 4 if self.steps else 1.0)
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
    p.add_argument("--steps", type=int, help="the most, all runs together")
    p.add_argument("--decay-hours", type=float, help="the part in which the rate falls (default: a quarter)")
    p.add_argument("--decay-to", type=float, default=0.02, help="fraction of the rate at the end")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--muon-lr", type=float, default=1.5e-3)
    p.add_argument("--adam-lr", type=float, default=6e-4)
    p.add_argument("--warmup", type=int, default=100, help="steps")
    p.add_argument("--dropout", type=float, default=0.0)
    p.add_argument("--ema", type=float, default=0.999, help="decay of the moving average, which is shorter at first: a tenth of the steps so far")
    p.add_argument("--init", help="a .safetensors file of the same kind to start from, of either family")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--guidance", type=float, default=1.0, help="a scale of classifier-free guidance to be learnt")
    p.add_argument("--timesteps", type=lambda s: [int(t) for t in s.split(",")],
                   help="those that sampling visits by default; few-step: that it learns to visit (999,600)")
    p.add_argument("--sampler", choices=["ddim", "dpm++2m"], default="ddim", help="what takes those by default")
    p.add_argument("--grids", type=lambda s: [int(t) for t in s.split(",")], nargs="*", default=[],
                   help="timesteps for other numbers of steps, a list for each")
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


class Run:
    """A network in training, with what is saved of it."""

    def __init__(self, args, device):
        self.args, self.device = args, device
        self.shape = dataclasses.replace(config(args.family, args.kind), dropout=args.dropout)
        self.process = Diffusion(checkpoint.STEPS, checkpoint.SCHEDULE)
        self.net, self.start = (Classifier if args.kind == "classifier" else UNet)(self.shape), None
        self.seen = self.step = 0
        self.spent, self.began = 0.0, time.time()
        if args.init:
            self.start, meta = checkpoint.load(args.init)
            self.net.load_state_dict(fitted(self.start, self.net))
            self.start = self.start.to(device, memory_format=torch.channels_last)
            self.seen = meta["train_images"] * (meta.get("family", "fashion") == args.family)
        self.net = self.net.to(device, memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.net).eval()
        self.opts = optimizers(self.net, args.muon_lr, args.adam_lr, 0.05 if args.kind == "classifier" else 0.0)
        if os.path.exists(args.out + ".pt"):
            state = torch.load(args.out + ".pt", map_location="cpu")
            self.net.load_state_dict(state["net"])
            self.ema.load_state_dict(state["ema"])
            for (opt, _), s in zip(self.opts, state["opts"]):
                opt.load_state_dict(s)
            self.seen, self.step, self.spent = state["seen"], state["step"], state["spent"]

    def save(self):
        args = self.args
        kind = "diffusion" if args.kind in ("low-res", "few-step") else args.kind
        more = {"few_step": {"sampler": args.sampler, "timesteps": args.timesteps}} if args.timesteps else {}
        if args.grids:
            more["grids"] = {str(len(grid)): grid for grid in args.grids}
        if kind == "upsampler":
            more["small_size"] = self.shape.image_size // 2
        if args.guidance > 1:
            more["guidance_learnt"] = args.guidance
        checkpoint.save(args.out, self.ema.state_dict(), kind, args.family, self.shape, self.seen, args.dtype, **more)
        state = {"net": self.net.state_dict(), "ema": self.ema.state_dict(), "opts": [o.state_dict() for o, _ in self.opts],
                 "seen": self.seen, "step": self.step, "spent": self.spent + time.time() - self.began}
        torch.save(state, args.out + ".pt.part")
        os.replace(args.out + ".pt.part", args.out + ".pt")

    def losses(self):
        """loss(net) of a fresh batch each time; net is the network in training, as it is or compiled."""
        args, shape, known = self.args, self.shape, data.FAMILIES[self.args.family]
        if args.kind == "few-step":
            teacher = torch.compile(self.start, dynamic=False) if self.device == "cuda" else self.start
            trajectories = Trajectories(teacher, self.process, args.timesteps, args.between, args.scale, args.uses)
            size = (args.batch, known.channels, shape.image_size, shape.image_size)
            return lambda net: trajectories.loss(net, size, shape.num_classes)
        pictures = known(args.data, "train", shape.image_size, self.device)

        def loss(net):
            images, labels = pictures.batch(args.batch)
            if args.kind == "classifier":
                images = judge.varied(args.family, images)
            elif known.null_class:
                nameless = torch.rand(args.batch, device=labels.device) < NULL_SHARE
                labels = torch.where(nameless, shape.num_classes - 1, labels)
            return batch_loss(args.kind, net, self.process, images, labels, args.guidance)

        return loss

    def compiled(self, loss):
        """The network compiled, if that works: it does so at the first loss and gradient, which are thrown away."""
        net, began = torch.compile(self.net, dynamic=False), time.time()
        try:
            loss(net).backward()
            torch.cuda.synchronize()
            print(f"compiled in {time.time() - began:.0f} s", flush=True)
        except Exception as error:  # of whatever part of the compiler
            print(f"torch.compile failed, so the network runs without it: {repr(error)[:2000]}", flush=True)
            torch.compiler.set_stance("force_eager")
        self.net.zero_grad()
        return net

    def update(self, workers):
        """One step along the gradients, and the moving average after it; the gradients' norm."""
        average_gradients(self.net, workers)
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for opt, _ in self.opts:
            opt.step()
        self.step, self.seen = self.step + 1, self.seen + self.args.batch * workers
        with torch.no_grad():  # a shorter average at first, so that the start is forgotten
            keep = min(self.args.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), 1 - keep)
        return norm


def main():
    args = arguments()
    rank, workers = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if workers > 1:
        dist.init_process_group("gloo")
    device = "cuda" if torch.cuda.is_available() and workers == 1 else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(args.seed)
    run = Run(args, device)
    torch.manual_seed(args.seed + run.step * workers + rank)
    schedule, loss = Schedule(args, run.spent), run.losses()
    net = run.compiled(loss) if device == "cuda" else run.net
    if args.kind == "classifier":
        known = data.FAMILIES[args.family]
        unseen = known(args.data, known.unseen, run.shape.image_size, device)
    shown, last_save, count, total, cpu = time.time(), time.time(), 0, 0.0, time.process_time()

    def show():
        """Reading the loss waits for a GPU, so the steps in between do not."""
        mean, speed = float(total) / max(count, 1), count * args.batch * workers / (time.time() - shown)
        if not math.isfinite(mean):
            raise SystemExit(f"the loss is {mean} at step {run.step}: give the same command to go on from {args.out}.pt, with lower rates")
        if rank == 0:
            memory = f"  memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else ""
            print(f"step {run.step}  images {run.seen}  loss {mean:.4f}  gradient {norm:.2f}  rate {rate:.3f}  "
                  f"{speed:.0f} images/s  cpu {(time.process_time() - cpu) / 60:.1f} min{memory}", flush=True)
            if args.kind == "classifier":
                print(f"right on unseen pictures, by timestep: {held_out(run.ema, run.process, unseen)}", flush=True)

    norm = rate = 0.0
    while (now_rate := agreed(schedule(run.step), workers)) is not None:
        rate = now_rate
        for opt, lr in run.opts:
            for group in opt.param_groups:
                group["lr"] = lr * rate
            opt.zero_grad()
        batch = loss(net)
        batch.backward()
        norm = run.update(workers)
        count, total = count + 1, total + batch.detach()
        if time.time() - shown > SHOW_EVERY[device]:
            show()
            shown, count, total = time.time(), 0, 0.0
            if rank == 0 and time.time() - last_save > SAVE_EVERY[device]:
                run.save()
                last_save = time.time()
    show()
    if rank == 0:
        run.save()
    if workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
