"""The families of checkpoints that are read, and those that are refused, as docs/checkpoints.md shows them.

`python -m statescope.probe.loaders.table > docs/checkpoints.md` writes the page again.
"""

from __future__ import annotations

from ..hooks.methods import METHODS, answers, markdown_table, other_hooks, shape_of_state
from ..hooks.names import place_of
from .adapter import Adapter
from .foreign import adapters

LIBRARIES = {"transformers": "transformers", "fla": "flash-linear-attention"}

INTRODUCTION = """# Checkpoints that are read

`load(folder)` takes a folder with config.json and safetensors; `load(module)` a model that is loaded already. The library's
own code computes queries, keys, values and gates; its recurrence runs on our kernels, so that hooks, taps and edits are those
of a model of ours, and the logits are the library's. `statescope inspect FOLDER` compares the two.

Beside the hooks of its mixer, each layer has `hook_resid_pre`, `hook_attn_out` and `hook_resid_post`; and, where its code
shows them, `hook_resid_mid`, `hook_mlp_out`, `mlp.hook_pre` and `mlp.hook_post`. In a first run on two tokens each hook must
fire, and the stream must be the sum of what they show; a hook that does not is not there.

Of a folder, config.json, tokenizer.json, tokenizer_config.json, model.safetensors or the files that
model.safetensors.index.json names are read, and no other; no code of the folder's is run. A tensor that is missing, not
expected, of another shape, of whole numbers in the place of floats, or not finite is an error that names it. Links are
followed inside the folder, and in Hugging Face's cache from a snapshot to its blobs.

A loaded model is trained and stored as its library does it. `generate` reads the whole sequence again at each step, with
edits. A tangent kernel runs in float64, which mixtures of experts of transformers do once
`set_experts_implementation("eager")` of the foreign model is called.
"""
OUTRO = """
A family of one's own is one file: a class `class Mine(Adapter, kind="mine")` of `statescope.probe.loaders.adapter`, which
names the foreign mixers' classes and the functions to run in the place of theirs. It is found in this package and in
installed packages that offer it as an entry point of the group `statescope.plugins`.
"""


def checkpoint_page() -> str:
    """Write the page about checkpoints, in Markdown."""
    read, refused = families_read(), [adapter for adapter in _ordered() if adapter.refused]
    lacks = [
        (one.title, LIBRARIES.get(one.package, one.package), place_of(place), why)
        for one in read
        for place, why in one.absences().items()
    ]
    return "\n".join(
        [
            INTRODUCTION,
            *markdown_table(("family", "checkpoints", "library", "hooks", "state", *METHODS), map(_row, read)),
            "\n## What a family lacks, and why\n",
            *markdown_table(("family", "library", "no", "why"), lacks),
            "\n## Refused, and why\n",
            *markdown_table(
                ("family", "checkpoints", "library", "why"),
                ((one.title, _named(one), LIBRARIES.get(one.package, one.package), one.refused) for one in refused),
            ),
            OUTRO,
        ]
    ).rstrip("\n")


def families_read() -> list[type[Adapter]]:
    """The families of our own package that are read, in the order of the page."""
    return [adapter for adapter in _ordered() if not adapter.refused]


def _ordered() -> list[type[Adapter]]:
    """Those of our own package: an installed one has a page of its own."""
    own = [adapter for adapter in adapters() if adapter.__module__.startswith(__package__ or "")]
    return sorted(own, key=lambda adapter: (adapter.package != "transformers", adapter.title.lower()))


def _row(adapter: type[Adapter]) -> tuple[str, ...]:
    points, library = adapter.points(), LIBRARIES.get(adapter.package, adapter.package)
    return (adapter.title, _named(adapter), library, other_hooks(points), shape_of_state(points), *answers(points))


def _named(adapter: type[Adapter]) -> str:
    return ", ".join(adapter.checkpoints)


if __name__ == "__main__":
    print(checkpoint_page())  # noqa: T201
