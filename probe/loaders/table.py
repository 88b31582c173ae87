"""The families of checkpoints that are read, and those that are refused, as docs/checkpoints.md shows them.

`python -m statescope.probe.loaders.table > docs/checkpoints.md` writes the page again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..hooks.names import STATE_PLACE, TRANSITION_PLACE, site_of
from .adapter import Adapter
from .foreign import adapters

LIBRARIES = {"transformers": "transformers", "fla": "flash-linear-attention"}
ATTENTION = "attn.hook_effective_attention"

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
"""
OUTRO = """
A family of one's own is one file: a class `class Mine(Adapter, kind="mine")` of `statescope.probe.loaders.adapter`, which
names the foreign mixers' classes and the functions to run in the place of theirs. It is found in this package and in
installed packages that offer it as an entry point of the group `statescope.plugins`.
"""


def checkpoint_page() -> str:
    """Write the page about checkpoints, in Markdown."""
    read, refused = ([adapter for adapter in _ordered() if bool(adapter.refused) is which] for which in (False, True))
    return "\n".join(
        [
            INTRODUCTION,
            *_table(
                ("family", "checkpoints", "library", "hooks", "state", "edits", "transition", "effective attention"),
                map(_row, read),
            ),
            "\n## Refused, and why\n",
            *_table(
                ("family", "checkpoints", "library", "why"),
                ((one.title, _named(one), LIBRARIES.get(one.package, one.package), one.refused) for one in refused),
            ),
            OUTRO,
        ]
    ).rstrip("\n")


def _ordered() -> list[type[Adapter]]:
    """Those of our own package: an installed one has a page of its own."""
    own = [adapter for adapter in adapters() if adapter.__module__.startswith(__package__ or "")]
    return sorted(own, key=lambda adapter: (adapter.package != "transformers", adapter.title.lower()))


def _row(adapter: type[Adapter]) -> tuple[str, ...]:
    points = {point.name: point for point in adapter.points()}
    state = points.get(STATE_PLACE)
    axes = "none" if state is None else f"[{', '.join(state.axis_names[2:])}]"
    shown = ", ".join(site_of(name) for name in points if name not in (STATE_PLACE, TRANSITION_PLACE, ATTENTION))
    answers = (_yes(state is not None), _yes(TRANSITION_PLACE in points), _yes(ATTENTION in points))
    return (adapter.title, _named(adapter), LIBRARIES.get(adapter.package, adapter.package), shown, axes, *answers)


def _named(adapter: type[Adapter]) -> str:
    return ", ".join(adapter.checkpoints)


def _yes(has: bool) -> str:
    return "yes" if has else "no"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    print(checkpoint_page())  # noqa: T201
