"""What a call takes: memory by the allocations that torch's profiler sees; time and memory in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cost:
    """What a call takes in a process of its own: processor time in seconds, and the maximum resident set in MiB, all included."""

    seconds: float
    mib: float


def cost_alone(module: Path, before: str, call: str) -> Cost:
    """The cost of `call` in a process that imports a module of this folder and runs `before`, whose time is not counted.

    The memory is the process's own since it began, of /proc: what `getrusage` says counts that of whoever started it.
    """
    code = f"""
import sys, time
sys.path.insert(0, {str(module.parent)!r})
from {module.stem} import *
{before}
begin = time.process_time()
{call}
print(time.process_time() - begin, open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    taken, held = done.stdout.split()[-2:]
    return Cost(float(taken), int(held) / 1024)
