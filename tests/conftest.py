"""Hypothesis without deadlines (a slow machine is no failure) and without chance (none flake)."""

from hypothesis import settings

settings.register_profile("schedulers", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("schedulers")

# They run where the peers are installed.
collect_ignore = ["golden/generate.py", "golden/peer.py"]
