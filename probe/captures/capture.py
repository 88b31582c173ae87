"""Captures: activations of named hooks at chosen positions, with the labels and sources of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd
import torch
from torch import Tensor

from ...kernels.notebook import titled_table
from ..errors import unknown_name
from ..results.text import visible_lines
from ..tasks.base import IGNORED
from .stored import Features, StoredActivation, StoredFeatures, feature_rows

if TYPE_CHECKING:
    from ..hooks.cache import StateCache

IN_MEMORY = 2**26  # bytes of one activation that are read whole
NO_TOKEN = -1  # behind the end of a sequence that is shorter than the longest; in `positions`, where there is no sample


class ConceptSamples(TypedDict):
    """Real features [S, D] of samples at a hook, whether a concept is present in each, [S], and the source of each, [S]."""

    features: Tensor
    present: Tensor
    groups: Tensor
    hook: str
    name: str


@dataclass(frozen=True, repr=False, eq=False)
class Capture:
    """N sequences at P positions each. A sample is one position of one sequence; they are numbered sequence by sequence.

    activations: hook -> [N, P, ...], a tensor or a StoredActivation, which is read when asked for.
    labels: name -> [N, P]: whole numbers or booleans are classes, real numbers are values. -100, or nan, says that a sample has
        no such label, and probes leave it out.
    tokens: [N, T], whole sequences; -1 (nan for real inputs) behind the end of the shorter ones.
    groups: [N], the source of each sequence.
    classes: label -> the names that its numbers stand for, where labels were given as text.
    positions: the P token positions that all sequences share; or [N, P] where sequences differ, with -1 where a sequence has
        no such position, which is then no sample.

    Raises ValueError where the shapes do not agree.
    """

    activations: dict[str, Any]
    labels: dict[str, Tensor]
    tokens: Tensor
    groups: Tensor
    positions: tuple[int, ...] | Tensor
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.positions, Tensor) and (self.positions.ndim != 2 or len(self.positions) != len(self.tokens)):
            raise ValueError(f"positions is {tuple(self.positions.shape)}; {len(self.tokens)} sequences need some each, [N, P]")
        if isinstance(self.positions, Tensor) and len(self.positions):
            shared = (self.positions == self.positions[:1]) & (self.positions >= 0)
            if bool(shared.all()):
                object.__setattr__(self, "positions", tuple(self.positions[0].tolist()))
        shape = (len(self.tokens), self.positions.shape[1] if isinstance(self.positions, Tensor) else len(self.positions))
        for kind, parts in (("activations", self.activations), ("labels", self.labels)):
            for name, value in parts.items():
                if tuple(value.shape[:2]) != shape:
                    raise ValueError(f"{kind} {name!r} is {tuple(value.shape)}; {shape[0]} sequences at {shape[1]} positions")
        if self.groups.shape != shape[:1]:
            raise ValueError(f"groups is {tuple(self.groups.shape)}; {shape[0]} sequences need one group each")

    def __repr__(self) -> str:
        """How much there is of what; the numbers themselves are many."""
        hooks = ", ".join(f"{name} {list(value.shape[2:])} {value.dtype}" for name, value in self.activations.items())
        samples, sources = len(self.sample_positions), len(self.groups.unique())
        return (
            f"Capture({samples} samples of {len(self.tokens)} sequences from {sources} sources; {hooks or 'no hook'}; "
            f"labels: {', '.join(self.labels) or 'none'})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, a row for each hook and label, and the first samples."""
        samples, sources = len(self.sample_positions), len(self.groups.unique())
        title = f"Capture of {samples} samples of {len(self.tokens)} sequences from {sources} sources"
        rows = [
            (name, str(list(value.shape[2:])), str(value.dtype), f"{value.nbytes / 2**20:,.1f} MiB {_where(value)}")
            for name, value in self.activations.items()
        ]
        for name in self.labels:
            truth = self.label(name)
            held, kinds = truth[labelled(truth)], "values" if truth.is_floating_point() else "classes"
            count = f"{len(held.unique())} classes" if kinds == "classes" else f"from {held.min():.3g} to {held.max():.3g}"
            rows.append((f"label {name}", count if len(held) else "no sample has it", kinds, f"{len(held)} samples"))
        first = self.select(torch.arange(min(2, len(self.tokens)))).to_frame().head(8)
        return titled_table(title, [map(visible_lines, row) for row in rows], first.to_html(index=False, escape=True))

    @property
    def hooks(self) -> list[str]:
        return list(self.activations)

    @property
    def position_table(self) -> Tensor:
        """The token position of each sequence's samples, [N, P]; -1 where there is no sample."""
        if isinstance(self.positions, Tensor):
            return self.positions
        return torch.tensor(self.positions, dtype=torch.long).expand(len(self.tokens), -1)

    @property
    def sample_positions(self) -> Tensor:
        """The token position of each of the S samples, [S]."""
        return self._samples(self.position_table)

    @property
    def sample_groups(self) -> Tensor:
        """The source of each of the S samples, [S]."""
        return self._samples(self.groups[:, None].expand_as(self.position_table))

    def features(self, hook: str) -> Tensor:
        """Every sample's activation as one row, [S, features], in float32 (float64 where the activation is).

        A complex number is two features that stand side by side, its real and its imaginary part. Raises UnknownNameError for a
        hook that was not captured, ValueError for values that are not finite.
        """
        return feature_rows(self._samples(self.activation(hook)), hook)

    def sample_features(self, hook: str) -> Features:
        """The same as `features` where they fit: of a stored activation larger than `IN_MEMORY` bytes, rows that are read a part
        at a time. Raises UnknownNameError for a hook that was not captured.
        """
        if hook not in self.activations:
            raise unknown_name("captured hook", hook, self.activations)
        found = self.activations[hook]
        if not isinstance(found, StoredActivation) or found.nbytes <= IN_MEMORY:
            return self.features(hook)
        sequences, positions = found.shape[:2]
        small = sequences * positions <= torch.iinfo(torch.int32).max
        every = torch.arange(sequences * positions, dtype=torch.int32 if small else torch.int64)
        return StoredFeatures(found, self._samples(every.view(sequences, positions)), hook)

    def feature_batches(self, hook: str, label: str, size: int = 4096) -> Iterator[tuple[Tensor, Tensor]]:
        """The samples that have a label, and the label, `size` at a time: what an eraser's `fit_batches` takes."""
        truth, features = self.label(label), self.sample_features(hook)
        held = labelled(truth).nonzero()[:, 0]
        for part in held.split(size):
            yield features[part], truth[part]

    def activation(self, hook: str) -> Tensor:
        """The activation as the hook gave it, [N, P, ...]. Raises UnknownNameError for a hook that was not captured."""
        if hook not in self.activations:
            raise unknown_name("captured hook", hook, self.activations)
        found = self.activations[hook]
        return found if isinstance(found, Tensor) else found.read()

    def activation_cache(self, model: Any) -> StateCache:
        """Everything as a transformer-lens ActivationCache, hook -> [N, P, ...], for what is written against those.

        model: the one that was captured. The axis of positions holds the captured ones, `tap_positions` of the cache; hooks
        whose positions stand elsewhere in the model (attention patterns) have them second here too. Raises ValueError where
        sequences were captured at different positions.
        """
        if isinstance(self.positions, Tensor):
            raise ValueError("these sequences were captured at different positions, which one cache cannot say")
        from ..hooks.cache import StateCache

        return StateCache({name: self.activation(name) for name in self.hooks}, model, self.positions)

    def label(self, name: str) -> Tensor:
        """The label of each sample, [S]. Raises UnknownNameError for a label the capture does not have."""
        if name not in self.labels:
            raise unknown_name("label", name, self.labels)
        return self._samples(self.labels[name])

    def concept(self, hook: str, label: str, value: str | float | None = None) -> ConceptSamples:
        """The samples that have a label, and whether it has a value: what finders of directions and their intervals take.

            MeanDifference().fit(**kept.concept("blocks.0.hook_resid_post", "sentiment", "positive"))

        value: a class by its name where labels were given as text, or else a number; left out, the label itself says whether,
            in booleans or as 0 and 1. Samples without the label are left out.

        Raises UnknownNameError for a hook, a label or a class that the capture does not have, ValueError where a value has to be
        given.
        """
        truth, words = self.label(label), self.classes.get(label)
        if isinstance(value, str):
            if value not in (words or ()):
                raise unknown_name(f"class of {label!r}", value, words or ())
            value = (words or ()).index(value)
        held = labelled(truth)
        truth = truth[held]
        if value is None and (words is not None or not bool(((truth == 0) | (truth == 1)).all())):
            names = words or [f"{one:g}" for one in truth.unique().tolist()[:5]]
            raise ValueError(f"label {label!r} has the values {', '.join(names)}; say which of them is the concept")
        present = truth.bool() if value is None else truth == value
        features, groups = self.features(hook)[held], self.sample_groups[held]
        return {"features": features, "present": present, "groups": groups, "hook": hook, "name": label}

    def contexts(self, length: int) -> Tensor:
        """The last `length` tokens up to each sample, [S, length], padded with -1 before the start.

        Raises ValueError for real inputs.
        """
        if self.tokens.is_floating_point():
            raise ValueError("contexts are of tokens; these sequences are real numbers, no two of which are alike")
        padded = torch.nn.functional.pad(self.tokens, (length - 1, 0), value=NO_TOKEN)
        reach = self.position_table.clamp(min=0)[..., None] + torch.arange(length)
        rows = torch.arange(len(padded))[:, None, None]
        return self._samples(padded[rows, reach])

    def to_frame(self) -> pd.DataFrame:
        """One row a sample: sequence, position, token, group and labels, in words where they were given in words."""
        rows = torch.arange(len(self.tokens))[:, None].expand_as(self.position_table)
        frame = pd.DataFrame({"sequence": self._samples(rows).numpy(), "position": self.sample_positions.numpy()})
        if self.tokens.ndim == 2:
            frame["token"] = self.contexts(1)[:, 0].numpy()
        frame["group"] = self.sample_groups.numpy()
        for name in self.labels:
            values, words = self.label(name), self.classes.get(name)
            frame[name] = values.numpy() if words is None else [words[v] if v >= 0 else None for v in values.tolist()]
        return frame

    def by_head(self, hook: str) -> Capture:
        """A capture in which each head of an activation [N, P, H, ...] is one of its own, "HOOK[0]", "HOOK[1]", and so on.

        A sweep then fits a probe to each. Raises ValueError for an activation without an axis behind its positions and another.
        """
        whole = self.activation(hook)
        if whole.ndim < 4:
            raise ValueError(f"{hook} {tuple(whole.shape)} has no axis of heads")
        heads = {f"{hook}[{head}]": whole[:, :, head] for head in range(whole.shape[2])}
        return replace(self, activations=heads)

    def read_outs(self, hook: str, keys: Tensor) -> Capture:
        """A capture of what a matrix state [N, P, H, K, V] holds under keys p: S_h^T p, [N, P, H, V], under the state's name.

        keys: [K], the same for all heads, or [H, K]; such as a token's query, or a key that the model has written. Raises
        ValueError for an activation that is no matrix state, and for keys of another size.
        """
        state = self.activation(hook)
        if state.ndim != 5 or keys.shape[-1:] != state.shape[3:4] or keys.shape[:-1] not in ((), state.shape[2:3]):
            raise ValueError(f"keys {tuple(keys.shape)} do not read a state {tuple(state.shape)}; give [K] or [H, K]")
        spread = keys.to(state).expand(state.shape[2], -1)
        return replace(self, activations={hook: torch.einsum("nphkv,hk->nphv", state, spread)})

    def pooled(self) -> Capture:
        """Each sequence as one sample, which holds the activations of all its positions, [N, 1, P, ...]; 0 where it has none.

        Its label and its position are those of its last sample. It is for probes that look at whole sequences.
        """
        there = self.position_table != NO_TOKEN
        last = (there * torch.arange(there.shape[1])).argmax(1, keepdim=True)
        held = {name: self.activation(name) for name in self.activations}
        spread = {name: there.view(*there.shape, *(1,) * (value.ndim - 2)) for name, value in held.items()}
        whole = {name: torch.where(spread[name], value, 0)[:, None] for name, value in held.items()}
        labels = {name: value.gather(1, last) for name, value in self.labels.items()}
        return Capture(whole, labels, self.tokens, self.groups, self.position_table.gather(1, last), self.classes)

    def select(self, sequences: Tensor) -> Capture:
        """Some of its sequences, by number or by a mask [N]."""
        chosen = torch.arange(len(self.tokens))[sequences]
        positions = self.positions[chosen] if isinstance(self.positions, Tensor) else self.positions
        activations = {
            name: value[chosen] if isinstance(value, Tensor) else value.select(chosen) for name, value in self.activations.items()
        }
        labels = {name: value[chosen] for name, value in self.labels.items()}
        return Capture(activations, labels, self.tokens[chosen], self.groups[chosen], positions, self.classes)

    def split(self, share: float = 0.25, *, seed: int = 0) -> tuple[Capture, Capture]:
        """Split into (the rest, about `share` of the groups), which share no source: one to fit on and one to test on."""
        unique = self.groups.unique()
        count = round(share * len(unique))
        if not 0 < count < len(unique):
            raise ValueError(f"{share:g} of {len(unique)} groups leaves one side empty; give another share, or more sources")
        drawn = unique[torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed))[:count]]
        held_out = torch.isin(self.groups, drawn)
        return self.select(~held_out), self.select(held_out)

    def _samples(self, values: Tensor) -> Tensor:
        """[N, P, ...] as [S, ...]."""
        if not isinstance(self.positions, Tensor):
            return values.flatten(0, 1)
        return values.flatten(0, 1)[self.positions.flatten() != NO_TOKEN]


def _where(value: Any) -> str:
    return "in memory" if isinstance(value, Tensor) else "on disk"


def labelled(values: Tensor) -> Tensor:
    """Tell which samples have the label, as booleans: not those that say -100, or nan."""
    return ~values.isnan() if values.is_floating_point() else values != IGNORED


def fully_labelled(labels: Tensor) -> Tensor:
    """Tell which samples have a label, or every one of several: [N] booleans, of labels [N] or [N, k]."""
    return labelled(labels).flatten(1).all(1) if labels.ndim > 1 else labelled(labels)


def are_classes(labels: Tensor) -> bool:
    """Whether labels are classes, whole numbers [N]; if not, they are numbers, [N] or [N, k]."""
    return labels.ndim == 1 and not labels.is_floating_point()


def pad_to(values: Tensor, size: int, fill: float) -> Tensor:
    """Fill the second axis up to a size."""
    missing = size - values.shape[1]
    if not missing:
        return values
    return torch.cat([values, values.new_full((len(values), missing, *values.shape[2:]), fill)], dim=1)


def from_columns(columns: Mapping[str, Any], classes: Mapping[str, tuple[str, ...]]) -> Capture:
    """A capture from its columns, under the names that a store has for them: hooks/..., labels/..., tokens, groups, positions."""

    def under(part: str) -> dict[str, Any]:
        return {name.removeprefix(part): value for name, value in columns.items() if name.startswith(part)}

    return Capture(under("hooks/"), under("labels/"), columns["tokens"], columns["groups"], columns["positions"], classes)
