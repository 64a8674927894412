"""Tables fitted to a spectrum or to a model: the best few evaluations for what you have.

`levels` finds the levels at which a scheduler's exact output is nearest to Gaussian data. `fit`
finds the weights and levels with which a model's own samples are nearest to those of fine steps.
"""

from schedulers.fitting.fit import fit as fit
from schedulers.fitting.fitted import FittedScheduler as FittedScheduler
from schedulers.fitting.levels import levels as levels
from schedulers.fitting.report import Fit as Fit, Report as Report

__all__ = ["Fit", "FittedScheduler", "Report", "fit", "levels"]
