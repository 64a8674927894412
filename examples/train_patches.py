"""Train the network of photographs
================================

Train a flow-matching network on patches of photographs, and export it as patches.onnx.

A small U-Net with attention predicts the velocity noise - data of x_t = (1 - t) data + t noise
(Lipman et al. 2023). The data are 16 x 16 patches in colour of the two photographs that
scikit-learn ships, at three scales. It takes about fifteen minutes on one core. Beside what the
examples need, this needs PyTorch and ONNX: pip install torch onnx onnxscript

    python examples/train_patches.py [FILE.onnx]
"""

import math
import sys

import numpy as np
import onnx
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn.functional import interpolate, mse_loss, silu
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

UPDATES = 3500
BATCH = 64
WIDTH, EMBEDDING = 40, 96


def patches(n, rng):
    """Return n patches (n, 3, 16, 16) between -1 and 1, from random places and scales."""
    photographs = [image / 127.5 - 1.0 for image in load_sample_images().images]
    scaled = [shrunk(image, by) for image in photographs for by in (2, 3, 4)]
    drawn = np.empty((n, 3, 16, 16), np.float32)
    for patch in drawn:
        image = scaled[rng.integers(len(scaled))]
        row, column = (rng.integers(size - 15) for size in image.shape[:2])
        found = image[row : row + 16, column : column + 16]
        patch[:] = (found if rng.random() < 0.5 else found[:, ::-1]).transpose(2, 0, 1)
    return drawn


def shrunk(image, by):
    """Return the means of squares of by x by pixels."""
    height, width = (size // by for size in image.shape[:2])
    squares = image[: height * by, : width * by].reshape(height, by, width, by, 3)
    return squares.mean(axis=(1, 3))


class Block(nn.Module):
    """Two convolutions beside a shortcut, the second one told the time."""

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


class Attention(nn.Module):
    """Each place looks at all places."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.asked = nn.Linear(channels, 3 * channels)
        self.said = nn.Linear(channels, channels)

    def forward(self, x):
        """Return features of the same shape."""
        places = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.asked(places).chunk(3, dim=2)
        looks = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(x.shape[1]), dim=2)
        found = looks @ value
        return x + self.said(found).transpose(1, 2).reshape(x.shape)


class PatchNet(nn.Module):
    """Velocity at images x (n, 3, 16, 16) and times t (n,) in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.frequencies = nn.Buffer(torch.exp(torch.linspace(0.0, math.log(1000.0), 32)))
        self.time = nn.Sequential(
            nn.Linear(64, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )
        self.first = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.down = Block(WIDTH, WIDTH)
        self.low1 = Block(WIDTH, 2 * WIDTH)
        self.look1 = Attention(2 * WIDTH)
        self.low2 = Block(2 * WIDTH, 2 * WIDTH)
        self.look2 = Attention(2 * WIDTH)
        self.up = Block(3 * WIDTH, WIDTH)
        self.last = nn.Conv2d(WIDTH, 3, 3, padding=1)

    def forward(self, x, t):
        """Return the velocity."""
        angles = t[:, None] * self.frequencies
        embedding = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        high = self.down(self.first(x), embedding)
        low = self.look1(self.low1(nn.functional.avg_pool2d(high, 2), embedding))
        low = self.look2(self.low2(low, embedding))
        h = torch.cat([high, interpolate(low, scale_factor=2.0)], dim=1)
        return self.last(silu(self.up(h, embedding)))


def train() -> nn.Module:
    """Return the network with the running mean of its weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = torch.tensor(patches(100_000, rng))
    network = PatchNet().to(memory_format=torch.channels_last)  # faster on a processor
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, UPDATES)
    running = math.nan
    for update in range(1, UPDATES + 1):
        data = images[torch.randint(len(images), (BATCH,))]
        noise = torch.randn_like(data)
        t = torch.sigmoid(torch.randn(BATCH))  # more often in the middle (Esser et al. 2024)
        mixed = t[:, None, None, None]
        loss = mse_loss(network((1.0 - mixed) * data + mixed * noise, t), noise - data)
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
    n = torch.export.Dim("n")
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 16, 16), torch.zeros(2)),
        input_names=["x", "t"],
        output_names=["velocity"],
        dynamic_shapes=({0: n}, {0: n}),
        dynamo=True,
    )
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")  # where in whose files a node came from
    onnx.checker.check_model(model)
    onnx.save(model, file)


if __name__ == "__main__":
    export(train(), sys.argv[1] if len(sys.argv) > 1 else "patches.onnx")
