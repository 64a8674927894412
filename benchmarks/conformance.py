"""Run the checks of `schedulers.testing` over the samplers of other packages.

    python benchmarks/conformance.py [--out docs/conformance.md] [--only WORD] [--processes N]

Needs torch, and as many of the packages in `PEERS` as there are; those that are missing are left
out. `peers/` adapts each sampler to ``sampler(denoiser, x, sigmas, noise)``: its random numbers are
replaced by `noise`, its model by the kit's denoiser, and it is run in float64. What it fails is
listed with the figure measured, and with the line or the formula that causes it where that is known
(`peers.causes`); what is not in there is called unexplained.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from peers import azula, deepinv, diffusers, diffusers_own, k_diffusion, ldm, small
from peers.base import Peer
from peers.causes import CONVENTIONS, EXPLANATIONS, FAULTS, HARMLESS, UNEXPLAINED, Cause
from schedulers.testing import CheckFailed, checks_for


@dataclass(frozen=True)
class Row:
    """What came of one sampler."""

    peer: Peer
    checks: int
    failures: tuple[CheckFailed, ...]


ALL: list[Peer] = []


def outcome(index: int) -> tuple[int, int, tuple[CheckFailed, ...]]:
    """Run every check of a peer."""
    import torch

    torch.set_num_threads(1)
    failures = []
    checks = checks_for(ALL[index].case)
    for check in checks:
        try:
            check(ALL[index].case)
        except CheckFailed as failure:
            failures.append(failure)
    return index, len(checks), tuple(failures)


def offered(failures: tuple[CheckFailed, ...]) -> bool:
    """Whether the package takes the options at all, rather than refuse them with a reason."""
    return not any("NotImplementedError" in failure.got for failure in failures)


def explained(peer: Peer, failure: CheckFailed) -> Cause:
    """Return the cause of a failure, or that it is not known."""
    for package, pattern, checks, cause in EXPLANATIONS:
        if package == peer.package and pattern.search(peer.name) and failure.check in checks:
            return cause
    return Cause(UNEXPLAINED, "unknown")


PEERS: dict[str, Callable[[], Iterator[Peer]]] = {
    "k-diffusion": k_diffusion.k_diffusion,
    "k-samplers": k_diffusion.k_samplers,
    "azula": azula.azula,
    "diffusers": lambda: chain(diffusers.diffusers(), diffusers_own.own()),
    "stable-diffusion-sdkit": ldm.ldm,
    "smalldiffusion": small.smalldiffusion,
    "denoising-diffusion-pytorch": small.denoising_diffusion_pytorch,
    "imagen-pytorch": small.imagen_pytorch,
    "deepinv": deepinv.deepinv,
    "nvidia-physicsnemo": small.physicsnemo,
    "flow-matching": small.flow_matching,
    "audio-diffusion-pytorch": small.audio_diffusion_pytorch,
    "monai": small.monai,
    "refiners": small.refiners,
    "diffusions": small.diffusions,
}


INTRODUCTION = """\
# What the samplers of other packages pass

The checks of `schedulers.testing`, run by `benchmarks/conformance.py` over {count} samplers of
{versions}.

## Faults

What is wrong, by how much in the check named first, and the line or the formula that causes it. A
failure counts as a fault if that is known, and is not a convention.

| package | options | by how much | formula |
| --- | --- | --- | --- |
"""

TABLE = """
## Every sampler

*Order* is the order that was claimed. *float32* means that a sampler keeps its levels or weights in
that precision, and was held to its rounding. You can check any sampler in the same way:

```python
>>> from schedulers.testing import check_sampler
>>> def euler(denoiser, x, sigmas, noise):
...     for s, s_next in zip(sigmas.tolist(), sigmas.tolist()[1:]):
...         x = x + (s_next - s) * (x - denoiser(x, s)) / s
...     return x
>>> check_sampler(euler, order=1)

```

[`from_torch`](api/testing.rst) makes such a sampler of one on PyTorch's tensors.

| package | sampler | order | precision | passed | faults | fails otherwise |
| --- | --- | --- | --- | --- | --- | --- |
"""


LEFT_OUT = """\
## Not examined

- diffusers, no samplers in the sense of the checks: `DDIMInverseScheduler` and
  `DPMSolverMultistepInverseScheduler` go up the levels; `RePaintScheduler` needs an image and a
  mask; `AmusedScheduler`, `BlockRefinementScheduler`, `DiscreteDDIMScheduler`,
  `EntropyBoundScheduler` and `VQDiffusionScheduler` sample tokens.
- diffusers, several resolutions in one run: `HeliosScheduler` and `HeliosDMDScheduler` with more
  than one stage.
- Packages other than those named above.
"""


def page(rows: list[Row], versions: dict[str, str]) -> str:
    """Return the page of docs."""
    held = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = []
    found: dict[Cause, list[tuple[Peer, CheckFailed]]] = {}
    for row in rows:
        peer, faults, others = row.peer, [], []
        for failure in row.failures:
            cause = explained(peer, failure)
            (faults if cause.heading == FAULTS else others).append(f"`{failure.check}`")
            found.setdefault(cause, []).append((peer, failure))
        cells = (
            *(peer.package, f"`{peer.name}`", f"{peer.case.order:g}", peer.case.precision),
            f"{row.checks - len(row.failures)}/{row.checks}",
            *(", ".join(faults), ", ".join(others)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    table = [
        fault_line(cause, which, versions)
        for cause, which in found.items()
        if cause.heading == FAULTS
    ]
    rest = []
    for heading in (UNEXPLAINED, HARMLESS, CONVENTIONS):
        causes = {cause: which for cause, which in found.items() if cause.heading == heading}
        rest += ["", f"## {heading}", ""] if causes else []
        for cause, which in causes.items():
            rest.append(f"- {cause.text[0].upper()}{cause.text[1:]}.")
            rest += [f"  - {line}" for line in shortened(which)]
    rest += ["", *LEFT_OUT.splitlines()]
    start = INTRODUCTION.format(versions=held, count=len(rows))
    return start + "\n".join(table) + "\n" + TABLE + "\n".join([*lines, *rest]) + "\n"


def fault_line(
    cause: Cause, which: list[tuple[Peer, CheckFailed]], versions: dict[str, str]
) -> str:
    """One fault: package, version, options, what is wrong by how much, and the formula."""
    peer, failure = which[0]
    names = list(dict.fromkeys(f"`{peer.name}`" for peer, _ in which))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    cells = (
        f"{peer.package} {versions[peer.package]}",
        ", ".join(names[:4]) + more,
        f"`{failure.check}`: {brief(failure.got)}",
        cause.text,
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def brief(got: str) -> str:
    """What was measured, without the levels."""
    return got.partition(", on sigmas")[0].partition(" of sigmas")[0].partition(", for sigmas")[0]


def shortened(which: list[tuple[Peer, CheckFailed]]) -> Iterator[str]:
    """The failures of one cause, the first of each check in full."""
    checks = dict.fromkeys(failure.check for _, failure in which)
    for check in checks:
        mine = [(peer, failure) for peer, failure in which if failure.check == check]
        peer, failure = mine[0]
        others = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        yield f"{peer.package} `{peer.name}`{others}, `{check}`: {brief(failure.got)}"


def main() -> None:
    """Run, print as it goes, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the page to write")
    parser.add_argument("--only", default="", help="samplers whose title contains this")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    versions = {}
    for package, peers in PEERS.items():
        try:
            found = list(peers())
        except ImportError as error:
            print(f"{package} is left out: {error}")
            continue
        versions[package] = importlib.metadata.version(package)
        ALL.extend(peer for peer in found if given.only in f"{package} {peer.name}")
    versions["torch"] = importlib.metadata.version("torch")
    rows: dict[int, Row] = {}
    with get_context("fork").Pool(given.processes) as pool:
        for index, checks, failures in pool.imap_unordered(outcome, range(len(ALL))):
            if not offered(failures):
                continue
            rows[index] = Row(ALL[index], checks, failures)
            for failure in failures:
                cause = explained(ALL[index], failure)
                print(
                    *(ALL[index].package, ALL[index].name, cause.heading),
                    *(failure.check, failure.got[:200]),
                    flush=True,
                )
    print(f"{len(rows)} samplers")
    if given.out:
        given.out.write_text(page([rows[index] for index in sorted(rows)], versions))


if __name__ == "__main__":
    main()
