"""A server: many requests, one model evaluation
=============================================

Requests for digits come at any time, each with its seed, its class and its number of steps. Clients
are threads; they share one scheduler and one session. The server keeps every run's state, and each
evaluation of the network takes all of them one row further, wherever they are: `Batch`. A run
leaves when it is done, and its client gets the image.

The image of a request is a function of its seed, class and steps, whoever else is served; here each
is drawn again by itself, and is the same to the network's rounding, which depends on the batch.

    python examples/serve.py [FILE.png]
"""

import queue
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import schedulers
from schedulers.onnx import OnnxDenoiser

# The gallery runs this file in its folder, and by no name.
here = Path(__file__).parent if "__file__" in globals() else Path()
NO_CLASS, REQUESTS = 10, 40
network = OnnxDenoiser(here / "digits.onnx", label=NO_CLASS)
scheduler = schedulers.DDIM(schedulers.DiscreteSchedule(schedulers.linear_betas(1000)), eta=0.5)


class Server:
    """Takes requests on any thread, and serves all of them by one loop."""

    def __init__(self):
        self.waiting, self.sizes = queue.Queue(), []
        self.loop = threading.Thread(target=self.serve, daemon=True)
        self.loop.start()

    def ask(self, seed, label, steps):
        """Ask for an image; return a future of it."""
        x_T = scheduler.initial_noise((1, 1, 8, 8), steps, rng=[seed], dtype=np.float32)
        answer = Future()
        self.waiting.put((scheduler.init(x_T, steps), seed, label, answer))
        return answer

    def serve(self):
        """Take all runs one row further, again and again."""
        runs = []
        while True:
            if not runs:
                runs.append(self.waiting.get())  # sleep until somebody asks
            while not self.waiting.empty():
                runs.append(self.waiting.get())
            if None in runs:
                return
            states, seeds, labels, answers = zip(*runs, strict=True)
            try:
                batch = schedulers.Batch(states)
                output = network(batch.x, batch.t, label=np.array(labels))
                states = batch.update(output, seeds).states
            except Exception as error:  # the clients hear of it, and the server goes on
                for answer in answers:
                    answer.set_exception(error)
                runs = []
                continue
            self.sizes.append(len(states))
            runs = []
            for state, seed, label, answer in zip(states, seeds, labels, answers, strict=True):
                if state.done:
                    answer.set_result(state.x)
                else:
                    runs.append((state, seed, label, answer))

    def close(self):
        """End the loop."""
        self.waiting.put(None)
        self.loop.join()


def alone(seed, label, steps):
    """Draw a request's image by itself."""
    x_T = scheduler.initial_noise((1, 1, 8, 8), steps, rng=[seed], dtype=np.float32)
    return scheduler.sample(
        lambda x, t: network(x, t, label=np.array([label])), x_T, steps, rng=[seed]
    )


def draw(file):
    server, rng = Server(), np.random.default_rng(0)
    requests = [(seed, seed % 10, int(rng.integers(10, 31))) for seed in range(REQUESTS)]

    def client(request):
        time.sleep(0.002 * request[0])
        return server.ask(*request).result(timeout=60)

    with ThreadPoolExecutor(REQUESTS) as clients:
        images = list(clients.map(client, requests))
    server.close()
    apart = max(np.abs(x - alone(*r)).max() for x, r in zip(images, requests, strict=True))
    evaluations, rows = len(server.sizes), sum(server.sizes)
    print(f"{REQUESTS} requests, {rows} rows by {evaluations} evaluations of the network")
    print(f"farthest from the image drawn by itself: {apart:.1e}")

    figure, axes = plt.subplots(4, REQUESTS // 4, figsize=(9.0, 5.2), layout="constrained")
    for axis, x, (_, label, steps) in zip(axes.ravel(), images, requests, strict=True):
        axis.imshow(x[0, 0], cmap="gray", vmin=-1, vmax=1)
        axis.set_title(f"{label}, {steps} steps", fontsize=7)
        axis.axis("off")
    figure.suptitle(f"{REQUESTS} requests served by {evaluations} evaluations for {rows} rows")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "serve.png")
