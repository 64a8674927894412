"""Print the callables that are called with hostile arguments, and why others are not.

Run it by ``PYTHONPATH=src:tests python -m hostile``.
"""

from hostile.found import in_calls, left_out
from hostile.walk import targets

called = [label for label in targets() if not left_out(label)]
print(f"Called ({len(called)}):", *called, sep="\n  ")
reasons = {label: left_out(label) for label in targets() if left_out(label)}
print(f"Left out ({len(reasons)}):")
for reason in dict.fromkeys(reasons.values()):
    print(f"  {reason}:")
    print(*(f"    {label}" for label in reasons if reasons[label] == reason), sep="\n")
print(f"By calls of their own: {sum(bool(in_calls(label)) for label in called)}")
