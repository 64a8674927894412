"""Many samples: in batches, on many processes and machines, resumed after anything.

A sample is named by its seed, and the same to the bit however the work was divided: in one process
or in many, at once or in parts. A network is not the same for every batch that a sample is in, so
the batches never change: batch i holds the seeds i * batch_size and those that follow.
"""

from schedulers.generation.generate import generate
from schedulers.generation.verify import verify
from schedulers.generation.work import Factory

__all__ = ["Factory", "generate", "verify"]
