"""Ways of breaking the package, for tests that a claim falls with the mechanism it speaks of.

A `Mutation` takes pytest's monkeypatch and breaks one thing until the test ends. The first few make one from what is to be
wrong; the others are mechanisms, each with what it does instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from statescope.probe.models.model import Model

Mutation = Callable[[pytest.MonkeyPatch], None]


def module(name: str) -> Any:
    """A module of the package by its path: kernels/delta_rule.py is "kernels.delta_rule"."""
    return import_module(f"statescope.{name}")


def chunk_terms(kernel: str, argument: int, factor: float = 0.9) -> Mutation:
    """The chunked form of a kernel takes one of its arguments (q, k, v, ...) too small."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        family = module(f"kernels.{kernel}").FAMILY

        def terms(*rows: Any, **how: Any) -> Any:
            return family.terms(
                *rows[:argument], None if rows[argument] is None else factor * rows[argument], *rows[argument + 1 :], **how
            )

        patch.setattr(module(f"kernels.{kernel}"), "FAMILY", replace(family, terms=terms))

    return mutate


def result_of(place: str, name: str, wrong: Callable[[Any], Any]) -> Mutation:
    """What a function of the package returns is changed."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        right = getattr(module(place), name)
        patch.setattr(module(place), name, lambda *given, **how: wrong(right(*given, **how)))

    return mutate


def result_of_method(place: str, kind: str, method: str, wrong: Callable[[Any], Any]) -> Mutation:
    """What a method of a class of the package returns is changed."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        right = getattr(getattr(module(place), kind), method)
        patch.setattr(getattr(module(place), kind), method, lambda *given, **how: wrong(right(*given, **how)))

    return mutate


def entry_of(place: str, table: str, key: str, wrong: Callable[[Any], Any]) -> Mutation:
    """An entry of a table of the package is changed."""
    return lambda patch: patch.setitem(getattr(module(place), table), key, wrong(getattr(module(place), table)[key]))


def built(place: str, config: str, **settings: Any) -> Mutation:
    """A mixer is always built with these settings, whatever its configuration says."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        kind = getattr(module(place), config)
        build = kind.build
        patch.setattr(kind, "build", lambda self, *rest, **how: build(replace(self, **settings), *rest, **how))

    return mutate


def parametrised_as(name: str, other: str) -> Mutation:
    """A parametrisation is taken for another one."""
    return lambda patch: entry_of(
        "analyses.lazy.parametrised",
        "PARAMETRISATIONS",
        name,
        lambda own: module("analyses.lazy.parametrised").PARAMETRISATIONS[other],
    )(patch)


def mamba_decay(factor: float) -> Mutation:
    """The states of the Mamba mixer decay by another factor than its transitions say."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        mixer = module("probe.mixers.mamba").MambaMixer
        right = mixer.recurrence
        wrong = lambda *, decay, **how: right.call(decay=factor * decay, **how)  # noqa: E731
        patch.setattr(mixer, "recurrence", replace(right, call=wrong))

    return mutate


def bound_of_hgrn2(patch: pytest.MonkeyPatch) -> None:
    right = module("probe.mixers.hgrn2").HGRN2.build
    patch.setattr(module("probe.mixers.hgrn2").HGRN2, "build", lambda self, width, generator, *_: right(self, width, generator))


def unread_attention(patch: pytest.MonkeyPatch) -> None:
    """Softmax attention that reads nothing."""
    nothing = lambda q, k, v, **how: q.new_zeros(*q.shape[:-1], v.shape[-1])  # noqa: E731
    wrong = SimpleNamespace(scaled_dot_product_attention=nothing)
    patch.setattr(module("probe.mixers.attention"), "functional", wrong)


def even_attention(patch: pytest.MonkeyPatch) -> None:
    """Softmax attention that reads all tokens alike."""
    wrong = SimpleNamespace(scaled_dot_product_attention=lambda q, k, v, **how: scaled_dot_product_attention(q, 0 * k, v, **how))
    patch.setattr(module("probe.mixers.attention"), "functional", wrong)


def forgetting_slstm(cell: Any) -> Any:
    """The input gate moves the forget gate too."""

    def step(parts: Any, inputs: torch.Tensor, recurrent: torch.Tensor) -> Any:
        shifted = inputs.clone()
        shifted[:, :, 1] += 0.1 * inputs[:, :, 0]
        return cell.step(parts, shifted, recurrent)

    return replace(cell, step=step)


def blind_cell(cell: Any) -> Any:
    """The recurrent part is not read."""
    return replace(cell, step=lambda parts, inputs, recurrent: cell.step(parts, inputs, 0 * recurrent))


def blind_cells(patch: pytest.MonkeyPatch) -> None:
    for name in ("lstm", "slstm"):
        entry_of("kernels.cell_scan", "CELLS", name, blind_cell)(patch)


def unwritten_slots(patch: pytest.MonkeyPatch) -> None:
    """Nothing is written into the slots of a gated slot attention."""
    empty = lambda tokens: tokens | {"write": 0 * tokens["write"]}  # noqa: E731
    result_of_method("probe.mixers.gated_slot_attention", "GatedSlotAttentionMixer", "tokens", empty)(patch)


def projections_are_lost(patch: pytest.MonkeyPatch) -> None:
    """A linearised model does not take over what the teacher's mixers project on."""
    study = module("analyses.studies.linearization")
    right = study.linearize

    def wrong(teacher: Model, *given: Any, **how: Any) -> Model:
        student: Model = right(teacher, *given, **how)
        fresh = Model(replace(student.config, seed=99)).to(student.W_U.dtype)
        for layer in range(student.layers):
            student.mixer(layer).load_state_dict(fresh.mixer(layer).state_dict())
        return student

    patch.setattr(study, "linearize", wrong)


def hedgehog_without_spikes(patch: pytest.MonkeyPatch) -> None:
    maps = module("probe.mixers.feature_maps")
    patch.setattr(maps.Hedgehog, "forward", lambda self, x: maps.elu_plus_one(x @ self.weight.T))


def weights_are_not_scaled(patch: pytest.MonkeyPatch) -> None:
    """Every parametrisation is the standard one."""
    patch.setattr(module("probe.models.parametrisation"), "_scale", lambda module, multiplier: None)


def worse_features(point: Any) -> Any:
    """The prediction of random features is a fifth too large."""
    return replace(point, test_error=1.2 * point.test_error)


def nothing_is_fitted(point: Any) -> Any:
    """The training error of random features is predicted as large as the test error."""
    return replace(point, train_error=point.test_error)


def turned_basis(span: Any) -> Any:
    """The entries of the basis stand in another order."""
    return replace(span, basis=span.basis.roll(1, 0))


def shifted_classes(found: Any) -> Any:
    """Samples are counted to the next class."""
    classes, index, columns = found
    return classes, index.roll(1), columns.roll(1, 0)


def shorter(translator: Any) -> Any:
    return replace(translator, weight=0.9 * translator.weight)


def skipped_too_early(patch: pytest.MonkeyPatch) -> None:
    """The layer before is skipped."""
    study = module("analyses.behaviour.depth_use")
    right = study.skipping
    patch.setattr(study, "skipping", lambda layer, positions: right(max(layer - 1, 0), positions))


def untrained(patch: pytest.MonkeyPatch) -> None:
    """Training ends after its first step."""
    run = module("probe.runs.run").Run
    right = run.train
    patch.setattr(
        run,
        "train",
        lambda self, label, config, task, training, seed: right(self, label, config, task, replace(training, steps=1), seed),
    )


def unpaired(pair: Any) -> Any:
    """Samples of the two sides do not correspond."""
    return pair[0], pair[1].roll(1, 0)


def other_tokens(found: Any) -> Any:
    """Tokens have each other's vectors."""
    return found._replace(tokens=found.tokens.roll(1, 0))


def euclidean(patch: pytest.MonkeyPatch) -> None:
    """The causal inner product is the usual one."""
    kind = module("probe.subspaces.causal_inner_product").CausalInnerProduct
    patch.setattr(kind, "metric", property(lambda self: torch.eye(len(self.covariance), dtype=torch.float64)))


def dense_features(patch: pytest.MonkeyPatch) -> None:
    """All positive features are kept."""
    kind = module("probe.dictionaries.trainers").BatchTopK
    patch.setattr(kind, "activate", lambda self, pre, weights: pre.relu())
    patch.setattr(kind, "sparsity", lambda self, x, weights: {})


def one_scale(patch: pytest.MonkeyPatch) -> None:
    """Training knows no output scale."""
    place = module("analyses.atlas.papers.p204_grokking")
    right = place.train_centred
    patch.setattr(place, "train_centred", lambda *given, scale, **how: right(*given, scale=1.0, **how))


def no_noise(patch: pytest.MonkeyPatch) -> None:
    """Noise on the weights of sines is not added."""
    patch.setattr(module("analyses.lazy.sine_network").SineNetwork, "add_noise_", lambda self, *given: self)


def whole_branches(patch: pytest.MonkeyPatch) -> None:
    """Residual branches are not scaled."""
    network = module("analyses.lazy.parametrised").AbcNetwork
    right = network.forward

    def forward(self: Any, x: torch.Tensor) -> Any:
        self.branch = 1.0
        return right(self, x)

    patch.setattr(network, "forward", forward)


def whole_residual_branches(patch: pytest.MonkeyPatch) -> None:
    """Drawn residual networks have branches that are not divided by the root of their number."""
    network = module("analyses.infinite_width.dense").ResidualNetwork
    right = network.finite
    patch.setattr(network, "finite", lambda self, *rest: right(replace(self, branch=float(self.depth)), *rest))


def even_membership(membership: torch.Tensor) -> torch.Tensor:
    """Every vector belongs to every part alike."""
    return 0 * membership + 1 / len(membership)


def shorter_memory(network: Any) -> Any:
    """Sums of the past decay too fast."""
    with torch.no_grad():
        for _, recurrent, *_ in network.layers.all_weights:
            recurrent.mul_(0.5)
    return network


def shuffled(table: torch.Tensor) -> torch.Tensor:
    """Products at random, which no group has."""
    return table.flatten()[torch.randperm(table.numel(), generator=torch.Generator().manual_seed(0))].view_as(table)


def scaled(tensors: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """Tensors by name, each a little too large."""
    return {name: factor * value for name, value in tensors.items()}
