"""The kinds of files that are written: of how many steps, and how that is read back."""

from pathlib import Path

from schedulers import DDIM, FittedScheduler, Tableau, VESchedule
from schedulers.compat.diffusers import DDIMScheduler


def table(steps):
    return DDIM(VESchedule()).tableau(steps)


def fitted(steps):
    return FittedScheduler(VESchedule(), tables=[table(steps)])


def configured(steps):
    return DDIMScheduler(steps, trained_betas=[0.25] * steps)


WRITE = {
    "configuration": lambda folder, steps: configured(steps).save_config(folder),
    "tableau": lambda folder, steps: table(steps).save(Path(folder, "table.json")),
    "fitted table": lambda folder, steps: fitted(steps).save(Path(folder, "fitted.json")),
}
READ = {
    "configuration": lambda folder: len(DDIMScheduler.from_pretrained(folder)),
    "tableau": lambda folder: Tableau.load(Path(folder, "table.json")).steps,
    "fitted table": lambda folder: (
        FittedScheduler.load(Path(folder, "fitted.json")).tables[0].steps
    ),
}
