"""Where a figure comes from: what a reader needs to make it again, and to know that nothing was changed."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from .manifest import in_short
from .run import Run


def provenance_of(run: Run, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The record of a result of a run, for a file beside its figure.

    where: the selection that is drawn. more: what else is known, such as the address of a page.
    """
    manifest, file = run.manifest, f"results/{name}.parquet"
    study, seeds = manifest.subject
    return {
        "run": run.path.name,
        "result": name,
        "file": file,
        "sha256": manifest.files[file].sha256,
        "selection": dict(where),
        "study": study,
        "seed": seeds[0] if len(seeds) == 1 else in_short(seeds),
        "created": manifest.created,
        "configuration": dict(manifest.configuration),
        "packages": dict(manifest.packages),
        "source": dict(manifest.source),
        "hardware": dict(manifest.hardware),
        "command": f"statescope run {quote(run.path.name)} --out {quote(run.path.name + '-again')}",  # beside the run's folder
        **more,
    }
