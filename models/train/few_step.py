"""Few evaluations: a student learns to take in one DDIM step what its teacher takes in several (Zhou et al. 2024).

The student visits few timesteps.  The teacher, the model that it starts from, solves the same noise with more steps between
them, with classifier-free guidance, so that the student learns guidance too and needs no second evaluation for it.  The
network and the process stay as they are: the student is an ADM file like any other, for DDIM at just its own timesteps.
"""

import math
import random

import torch

from diffusion import Diffusion, guided

KNEE = 0.03  # of the loss, where it goes over from squares to absolute values


def dense(x):
    """x laid out in one way always, since torch.compile compiles anew for each layout."""
    return x.flatten(1).view(x.shape)


class Trajectories:
    """Batches of (noise, classes, what the student is to predict of x_0 at each of its timesteps given its own x).

    Solving costs much more than learning, so each solution is used `uses` times, with others in between.
    """

    def __init__(self, teacher, process, timesteps, between, scale, uses):
        self.points = sorted(timesteps, reverse=True)
        ends = self.points + [-1]
        kept = {round(a + (b - a) * k / between) for a, b in zip(ends, ends[1:]) for k in range(between)}
        full = process.abar
        self.fine = Diffusion(len(full), keep=sorted(kept))
        self.abar = [float(full[t]) for t in self.points] + [1.0]
        self.teacher, self.scale, self.uses = teacher, scale, uses
        self.device = next(teacher.parameters()).device
        self.stored, self.turn = [], 0

    def solve(self, shape, classes):
        x, y = torch.randn(shape, device=self.device), torch.randint(classes, shape[:1], device=self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            model = guided(self.teacher, y, classes - 1, self.scale)
            seen = self.fine.ddim(lambda x, t: model(dense(x), t).float(), x, self.points[1:])
        return x, y, seen

    def batch(self, shape, classes):
        if self.turn % self.uses == 0:
            self.stored = self.stored[-63:] + [self.solve(shape, classes)]
            self.turn = 1
            return self.stored[-1]
        self.turn += 1
        return random.choice(self.stored)

    def loss(self, net, shape, classes):
        """The student goes its own way; at each step it is to predict the x_0 that leads to the teacher's next point."""
        x, y, seen = self.batch(shape, classes)
        total = 0.0
        for i, goal in enumerate(seen):
            a, b = math.sqrt(self.abar[i]), math.sqrt(1 - self.abar[i])
            a_next, b_next = math.sqrt(self.abar[i + 1]), math.sqrt(1 - self.abar[i + 1])
            target = (goal - b_next / b * x) / (a_next - b_next / b * a)
            t = torch.full(shape[:1], self.points[i], device=self.device)
            with torch.autocast(self.device.type, torch.bfloat16):
                x0 = net(dense(x), t, y).float().chunk(2, dim=1)[0]
            total = total + (((x0 - target) ** 2 + KNEE**2).sqrt() - KNEE).mean()
            x0 = x0.detach().clamp(-1, 1)
            x = a_next * x0 + b_next / b * (x - a * x0)
        return total / len(seen)
