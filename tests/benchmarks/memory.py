"""Peak memory of a call: by the allocations that torch's profiler sees, or by what a process of its own held of the machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile


def peak_mib(call: Callable[[], object]) -> float:
    """The most that the call held at once, its result included, over what there was before, in MiB: the same on every machine."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    del result
    return most / 2**20


REPORT = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def max_rss_mib(module: Path, call: str) -> float:
    """The maximum resident set, in MiB, of a process that imports a module of this folder and runs `call`, all included."""
    code = f"import sys; sys.path.insert(0, {str(module.parent)!r}); from {module.stem} import *; {call}; {REPORT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024
