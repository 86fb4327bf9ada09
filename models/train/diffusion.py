"""The Gaussian diffusion process: schedule, training loss and two samplers, DDIM and DPM-Solver++.

Notation as in the papers: x_0 is an image, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e with
standard normal e; the code says `abar` for the cumulative product of alphas.  The tables are
float64 and cover the kept timesteps, which are all of them while training.
"""

import math

import numpy as np
import torch


def betas(schedule, steps):
    """The variances of the full process: 'linear' (Ho et al. 2020) or 'cosine' (Nichol & Dhariwal 2021)."""
    if schedule == "linear":
        return np.linspace(0.1 / steps, 20 / steps, steps)
    abar = lambda s: math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.array([min(1 - abar((i + 1) / steps) / abar(i / steps), 0.999) for i in range(steps)])


def ddim_timesteps(steps, count):
    """`count` timesteps at the smallest integer stride that gives just so many."""
    for stride in range(1, steps):
        kept = range(0, steps, stride)
        if len(kept) == count:
            return list(kept)
    raise ValueError(f"no integer stride gives {count} of {steps} steps")


class Diffusion:
    def __init__(self, steps=1000, schedule="cosine", keep=None, predict_xstart=True, learn_sigma=True):
        self.timesteps = keep or list(range(steps))
        self.predict_xstart, self.learn_sigma = predict_xstart, learn_sigma
        self.abar = np.cumprod(1 - betas(schedule, steps))[self.timesteps]
        self.abar_prev = np.append(1.0, self.abar[:-1])
        self.beta = 1 - self.abar / self.abar_prev
        variance = self.beta * (1 - self.abar_prev) / (1 - self.abar)
        self.posterior_log_variance = np.log(np.append(variance[1], variance[1:]))  # the first is 0
        self.posterior_x0 = self.beta * np.sqrt(self.abar_prev) / (1 - self.abar)
        self.posterior_xt = (1 - self.abar_prev) * np.sqrt(1 - self.beta) / (1 - self.abar)
        self.signal, self.noise, self.log_beta = np.sqrt(self.abar), np.sqrt(1 - self.abar), np.log(self.beta)
        weight = np.clip(self.abar / (1 - self.abar), 1, 5) if predict_xstart else np.minimum(1 / self.abar, 5)
        self.weight = weight / weight.mean()
        self.copies = {}

    def at(self, name, i):
        """A table's float32 values at the steps i [N], to be broadcast over images; a copy stays on i's device."""
        key = name, i.device
        if key not in self.copies:
            self.copies[key] = torch.from_numpy(getattr(self, name)).float().to(i.device)
        return self.copies[key][i][:, None, None, None]

    def noised(self, x0, i, noise):
        """x_t for the steps i [N]."""
        return self.at("signal", i) * x0 + self.at("noise", i) * noise

    def loss(self, out, x0, xt, i, noise, goal=None):
        """Improved diffusion's hybrid: a weighted MSE and, only for the variance, the variational bound.

        The weight is the signal-to-noise ratio clipped to [1, 5] where x_0 is predicted, and
        min(1 / abar, 5) for noise: both keep a few steps from ruling the rest.  A goal takes x_0's place in the first.
        """
        prediction, interpolation = out.chunk(2, dim=1)
        if self.predict_xstart:
            x0_hat, target = prediction, x0 if goal is None else goal
        else:
            x0_hat, target = (xt - self.at("noise", i) * prediction) / self.at("signal", i), noise
        mse = (self.at("weight", i) * (prediction - target) ** 2).mean()
        return mse + self.bound(x0_hat.detach(), interpolation, x0, xt, i) * len(self.timesteps) / 1000

    def bound(self, x0_hat, interpolation, x0, xt, i):
        """The bound's term of step i in bits a pixel: KL(q || p), for the last step -log2 p(x_0)."""
        mean = self.at("posterior_x0", i) * x0_hat + self.at("posterior_xt", i) * xt
        true_mean = self.at("posterior_x0", i) * x0 + self.at("posterior_xt", i) * xt
        low, high = self.at("posterior_log_variance", i), self.at("log_beta", i)
        log_var = low + (interpolation + 1) / 2 * (high - low)
        kl = 0.5 * (log_var - low - 1 + (low - log_var).exp() + (true_mean - mean) ** 2 * (-log_var).exp())
        # -log p of the 8-bit value whose bin of width 2 / 255 holds x_0; the outermost bins are open.
        cdf = lambda x: 0.5 * (1 + torch.erf((x - mean) * (-0.5 * log_var).exp() / math.sqrt(2)))
        below = torch.where(x0 < -0.999, 0.0, cdf(x0 - 1 / 255))
        above = torch.where(x0 > 0.999, 1.0, cdf(x0 + 1 / 255))
        nll = -(above - below).clamp(min=1e-12).log()
        return torch.where((i == 0)[:, None, None, None], nll, kl).mean() / math.log(2)

    def predicted(self, model, x, i):
        """x_0 as model(x, t [N]), which predicts it or the noise, sees it at step i."""
        out = model(x, torch.full((len(x),), self.timesteps[i], device=x.device))
        if self.learn_sigma:
            out = out.chunk(2, dim=1)[0]
        if not self.predict_xstart:
            out = (x - math.sqrt(1 - self.abar[i]) * out) / math.sqrt(self.abar[i])
        return out.clamp(-1, 1)

    @torch.no_grad()
    def ddim(self, model, x, watched=None):
        """Deterministic DDIM from noise x; with timesteps to be watched, x as it comes there and at the end."""
        seen = []
        for i in reversed(range(len(self.timesteps))):
            a, b = math.sqrt(self.abar[i]), math.sqrt(1 - self.abar[i])
            x0 = self.predicted(model, x, i)
            e = (x - a * x0) / b
            x = math.sqrt(self.abar_prev[i]) * x0 + math.sqrt(1 - self.abar_prev[i]) * e
            if watched is not None and (i == 0 or self.timesteps[i - 1] in watched):
                seen.append(x)
        return x if watched is None else seen

    @torch.no_grad()
    def dpm_2m(self, model, x):
        """DPM-Solver++ of order 2 (Lu et al. 2022, algorithm 2) from noise x; the last evaluation's x_0 is the image."""
        snr = np.log(self.signal / self.noise)
        before, last = None, None
        for i in reversed(range(1, len(self.timesteps))):
            x0, h = self.predicted(model, x, i), snr[i - 1] - snr[i]
            d = x0 if before is None else x0 + (x0 - before) * h / (2 * last)
            x = self.noise[i - 1] / self.noise[i] * x - self.signal[i - 1] * math.expm1(-h) * d
            before, last = x0, h
        return self.predicted(model, x, 0)


def guided(net, y, null, scale):
    """model(x, t) of class-conditional net with classifier-free guidance; null is the class of no name."""
    if scale == 1:
        return lambda x, t: net(x, t, y)
    if null is None:
        raise ValueError("the model was trained with no class of no name, so there is nothing to guide it from")

    def model(x, t):
        asked, any_class = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, null)])).chunk(2)
        return any_class + scale * (asked - any_class)

    return model
