"""Train the digits network
========================

Train the network of onnx_loop.py on scikit-learn's digits, and export it as digits.onnx.

A small U-Net, epsilon-prediction on a linear schedule of 1000 levels (Ho et al. 2020), told the
class; label dropout teaches it the digits of no particular class, too (Ho & Salimans 2022,
Algorithm 1). It takes minutes on one core of a processor. Beside what the examples need, this
needs PyTorch and ONNX: pip install torch onnx onnxscript

    python examples/train_digits.py [FILE.onnx]
"""

import math
import sys

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import interpolate, mse_loss, silu
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import schedulers

UPDATES = 6000
BATCH = 128
LABEL_DROPOUT = 0.15
NO_CLASS = 10  # the label of no particular class
WIDTH, EMBEDDING = 32, 64

schedule = schedulers.DiscreteSchedule(schedulers.linear_betas(1000))


class Block(nn.Module):
    """Two convolutions beside a shortcut, the second one told time and class."""

    def __init__(self, channels_in, channels):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.told = nn.Linear(EMBEDDING, 2 * channels)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x, embedding):
        """Return features of the given number of channels."""
        h = self.conv1(silu(self.norm1(x)))
        scale, shift = self.told(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(silu(self.norm2(h) * (1.0 + scale) + shift))
        return self.shortcut(x) + h


class DigitNet(nn.Module):
    """Noise estimate of images x (n, 1, 8, 8) at times t (n,) of classes label (n,)."""

    def __init__(self):
        super().__init__()
        self.frequencies = nn.Buffer(torch.exp(torch.linspace(0.0, -math.log(1000.0), 32)))
        self.time = nn.Sequential(
            nn.Linear(64, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.label = nn.Embedding(NO_CLASS + 1, EMBEDDING)
        self.first = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.down = Block(WIDTH, WIDTH)
        self.low1 = Block(WIDTH, 2 * WIDTH)
        self.low2 = Block(2 * WIDTH, 2 * WIDTH)
        self.up = Block(3 * WIDTH, WIDTH)
        self.last = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, x, t, label):
        """Return the noise estimate."""
        angles = t[:, None] * self.frequencies
        features = torch.cat([angles.sin(), angles.cos()], dim=1)
        embedding = silu(self.time(features) + self.label(label))
        high = self.down(self.first(x), embedding)
        low = self.low2(self.low1(nn.functional.avg_pool2d(high, 2), embedding), embedding)
        h = torch.cat([high, interpolate(low, scale_factor=2.0)], dim=1)
        return self.last(silu(self.up(h, embedding)))


def train() -> nn.Module:
    """Return the network with the running mean of its weights."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 8.0 - 1.0, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    times = np.arange(schedule.num_train_timesteps)
    alpha, sigma = (
        torch.tensor(scale(times), dtype=torch.float32)[:, None, None, None]
        for scale in (schedule.alpha, schedule.sigma)
    )
    network = DigitNet().to(memory_format=torch.channels_last)  # faster on a processor
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, UPDATES)
    running = math.nan
    for update in range(1, UPDATES + 1):
        chosen = torch.randint(len(images), (BATCH,))
        t = torch.randint(len(times), (BATCH,))
        noise = torch.randn(BATCH, 1, 8, 8)
        dropped = torch.rand(BATCH) < LABEL_DROPOUT
        label = labels[chosen].masked_fill(dropped, NO_CLASS)
        x = alpha[t] * images[chosen] + sigma[t] * noise
        loss = mse_loss(network(x, t.float(), label), noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        mean.update_parameters(network)
        running = loss.item() if update == 1 else 0.99 * running + 0.01 * loss.item()
        if update % 500 == 0:
            print(f"{update} of {UPDATES} updates, mean squared error {running:.4f}", flush=True)
    return mean.module.eval()


def export(network: nn.Module, file: str) -> None:
    """Write the network as ONNX, for any number of images."""
    example = torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.long)
    n = torch.export.Dim("n")
    program = torch.onnx.export(
        network,
        example,
        input_names=["x", "t", "label"],
        output_names=["noise"],
        dynamic_shapes=({0: n}, {0: n}, {0: n}),
        dynamo=True,
    )
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")  # where in whose files a node came from
    onnx.checker.check_model(model)
    onnx.save(model, file)


if __name__ == "__main__":
    export(train(), sys.argv[1] if len(sys.argv) > 1 else "digits.onnx")
