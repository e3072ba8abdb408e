"""Writes training.safetensors: what PyTorch's optimizers and schedules make of two parameters.

    python training.py       # needs torch and safetensors; writes beside itself

Each case is a recipe in training.cyg with the same name. In each step the parameters w and b get the
gradients of sum((g w)^2 / 2 + g w + g b) for another g. Everything is computed in float64 from
float32 numbers, then rounded. Tensors are named

    start/w, start/b     the parameters before the first step
    samples              g, step by step
    CASE/w, CASE/b       the parameters behind each step
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import optim
from torch.optim import lr_scheduler

STEPS = 12
STEPS_PER_EPOCH = 2

generator = torch.Generator().manual_seed(20261126)


def normal(*shape):
    return torch.randn(shape, generator=generator)


start = {"w": normal(3, 5), "b": normal(5)}
samples = normal(STEPS, 3, 5)
tensors = {f"start/{name}": value for name, value in start.items()} | {"samples": samples}


class Lion(optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023, which PyTorch does not have."""

    def step(self):
        for group in self.param_groups:
            for value in group["params"]:
                m = self.state[value].get("m", torch.zeros_like(value))
                update = (0.9 * m + 0.1 * value.grad).sign()
                value -= group["lr"] * (update + group["weight_decay"] * value)
                self.state[value]["m"] = 0.99 * m + 0.01 * value.grad


def case(name, optimizer, schedule=None, every=1, clip=None):
    """Records the parameters after each step; the schedule advances `every` so many steps."""
    w, b = (start[part].double().requires_grad_() for part in ("w", "b"))
    chosen = optimizer([w, b])
    rates = schedule(chosen) if schedule else None
    behind = {"w": [], "b": []}
    for step, g in enumerate(samples.double()):
        chosen.zero_grad()
        ((g * w).square() / 2 + g * w + g * b).sum().backward()
        if clip:
            clip([w, b])
        with torch.no_grad():
            chosen.step()
        if rates and (step + 1) % every == 0 and step + 1 < STEPS:
            rates.step()
        behind["w"].append(w.detach().clone())
        behind["b"].append(b.detach().clone())
    for part, values in behind.items():
        tensors[f"{name}/{part}"] = torch.stack(values).float()


case("sgd", lambda p: optim.SGD(p, 0.1))
case("sgd_decay", lambda p: optim.SGD(p, 0.1, weight_decay=0.03))
case("sgd_momentum", lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01))
case("sgd_nesterov", lambda p: optim.SGD(p, 0.05, momentum=0.8, nesterov=True, weight_decay=0.02))
case("adam", lambda p: optim.Adam(p, 0.02))
case("adam_decay", lambda p: optim.Adam(p, 0.02, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1))
case("adamw", lambda p: optim.AdamW(p, 0.02, weight_decay=0.3))
case("rmsprop", lambda p: optim.RMSprop(p, 0.01, alpha=0.9, weight_decay=0.05))
case("rmsprop_centered", lambda p: optim.RMSprop(p, 0.01, alpha=0.9, eps=1e-3, centered=True))
case(
    "rmsprop_momentum",
    lambda p: optim.RMSprop(p, 0.01, alpha=0.95, eps=1e-3, momentum=0.7, centered=True),
)
case(
    "adagrad",
    lambda p: optim.Adagrad(p, 0.1, lr_decay=0.2, initial_accumulator_value=0.5, weight_decay=0.05),
)
case("lion", lambda p: Lion(p, {"lr": 0.01, "weight_decay": 0.2}))

plain = lambda p: optim.SGD(p, 0.1)
case("clip_norm", plain, clip=lambda p: torch.nn.utils.clip_grad_norm_(p, 2.0))
case("clip_value", plain, clip=lambda p: torch.nn.utils.clip_grad_value_(p, 0.7))

case("step_decay", plain, lambda o: lr_scheduler.StepLR(o, 2, 0.3), STEPS_PER_EPOCH)
case("exponential_decay", plain, lambda o: lr_scheduler.ExponentialLR(o, 0.8), STEPS_PER_EPOCH)
case("cosine_decay", plain, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 0.005))
case("polynomial_decay", plain, lambda o: lr_scheduler.PolynomialLR(o, 9, 2.0))
case("warm_up", plain, lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 5))
case("one_cycle", plain, lambda o: lr_scheduler.OneCycleLR(o, 0.1, STEPS, cycle_momentum=False))

save_file(tensors, Path(__file__).parent / "training.safetensors")
