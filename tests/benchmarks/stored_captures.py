"""Memory of probes on a capture that is larger than memory: `python tests/benchmarks/stored_captures.py FOLDER GIB [GIB ...]`.

For each size a capture is written to FOLDER, of rows of 1,024 numbers with a planted label of 10 classes and a real-valued one; a
process of its own then opens it, fits a ridge probe of each with its control, and an eraser, to four fifths of the sequences, and
scores the probes on the others. It prints the maximum resident set, all included, and removes the capture.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import torch
from memory import cost_alone

from statescope.directions import Leace
from statescope.estimators import ProbeSweep
from statescope.probe.captures.store import CaptureWriter, open_capture

WIDTH, POSITIONS, BATCH, CLASSES = 1024, 16, 64, 10
HOOK = "blocks.0.hook_resid_post"


def write(folder: Path, gibibytes: float) -> None:
    """Write a capture of so many GiB. Its numbers are multiples of 1 / 16, of which the disk holds a third of the bytes."""
    generator = torch.Generator().manual_seed(0)
    batches = round(gibibytes * 2**30 / (4 * WIDTH * POSITIONS * BATCH))
    means = torch.randn(CLASSES, WIDTH, generator=generator) / 16
    noise = torch.randn(4 * BATCH, POSITIONS, WIDTH, generator=generator)
    writer = CaptureWriter(folder, batches * BATCH)
    for batch in range(batches):
        label = torch.randint(CLASSES, (BATCH, POSITIONS), generator=generator)
        drawn = noise[torch.randperm(len(noise), generator=generator)[:BATCH]].roll(batch % WIDTH, 2)
        columns = {
            f"hooks/{HOOK}": ((means[label] + drawn) * 16).round() / 16,
            "labels/planted": label,
            "tokens": torch.randint(100, (BATCH, POSITIONS), generator=generator),
            "groups": torch.arange(batch * BATCH, (batch + 1) * BATCH),
            "positions": torch.arange(POSITIONS).expand(BATCH, -1),
        }
        writer.write(columns)


def probe(folder: str) -> None:
    """Fit and score, and print what was found."""
    kept = open_capture(folder)
    seen, held_out = kept.split()
    scores = ProbeSweep(resamples=200, permutations=20).run(seen, held_out)
    print(f"  {kept!r}")
    print(scores.to_frame()[["label", "accuracy", "low", "high", "majority", "control", "fitted_samples"]].to_string())
    Leace().fit(seen.sample_features(HOOK), seen.label("planted"), hook=HOOK, name="planted")


if __name__ == "__main__":
    for size in map(float, sys.argv[2:]):
        made = Path(sys.argv[1]) / f"capture-{size:g}"
        try:
            start = time.perf_counter()
            write(made, size)
            on_disk = sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) / 2**30
            written = time.perf_counter()
            most = cost_alone(Path(__file__), "", f"probe({str(made)!r})").mib
            print(
                f"{size:g} GiB, {on_disk:.1f} on disk: at most {most:.0f} MiB resident; "
                f"{written - start:.0f} s to write, {time.perf_counter() - written:.0f} s to probe",
                flush=True,
            )
        finally:
            shutil.rmtree(made, ignore_errors=True)
