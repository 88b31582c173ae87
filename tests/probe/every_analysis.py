"""Every analysis of a model, and what each must give for a model whatever its mixers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from statescope import Direction, Transition, empirical_ntk
from statescope.analyses.automata.allowed_and_realised import allowed_and_realised
from statescope.analyses.automata.homomorphism import homomorphism, mean_maps
from statescope.analyses.automata.recovered_automaton import recovered_automaton
from statescope.analyses.automata.requirements import tracking_requirements
from statescope.analyses.behaviour.accuracy_by_length import accuracy_by_length
from statescope.analyses.behaviour.steering import steering
from statescope.analyses.geometry.direction_map import direction_projection
from statescope.analyses.geometry.singular_values import singular_values
from statescope.analyses.ntk.operator import TangentKernelOperator
from statescope.analyses.operators.curvature import GaussNewton, Hessian
from statescope.geometry import intrinsic_dimension, state_geometry
from statescope.probe.mixers.spectrum import AllowedSpectrum
from statescope.probe.models.hooked import HookedModel
from statescope.probe.results.result import Result
from statescope.probe.tasks import Parity, WordProblem, generator_for
from statescope.spectra import (
    lasting_directions,
    memory_horizon,
    spectrum_by_label,
    stability,
    transition_measures,
    window_spectrum,
)

OF_STATES: dict[str, Callable[[HookedModel, Tensor], Result]] = {
    "geometry": state_geometry,
    "singular values": lambda model, tokens: singular_values(model, tokens, of="state"),
    "dimension": lambda model, tokens: intrinsic_dimension(model, tokens, neighbours=4),
}
OF_TRANSITIONS: dict[str, Callable[[HookedModel, Tensor], Result]] = {
    "measures": transition_measures,
    "by token": lambda model, tokens: spectrum_by_label(model, tokens, {"token": tokens}),
    "windows": lambda model, tokens: window_spectrum(model, tokens, 3),
    "horizon": memory_horizon,
    "directions": lasting_directions,
    "stability": lambda model, tokens: stability(model, tokens, transitions=4),
    "singular values": lambda model, tokens: singular_values(model, tokens, of="transition"),
    "requirements": tracking_requirements,
    "allowed": allowed_and_realised,
}
RESIDUAL = "blocks.0.hook_resid_post"


def shown(model: HookedModel, tokens: Tensor, place: str, **run: Any) -> dict[int, Any]:
    """What a hook shows in each layer that has it."""
    names = {layer: f"blocks.{layer}.attn.{place}" for layer in range(model.layers)}
    return {
        layer: model.run_with_cache(tokens, names_filter=name, return_type=None, **run)[1][name]
        for layer, name in names.items()
        if name in model.hook_dict
    }


def check_analyses(model: HookedModel, tokens: Tensor) -> None:
    """The layers of each result are those that show what it needs, and its singular values are those of what is shown."""
    last = tokens.shape[1] - 1
    transitions, states = shown(model, tokens, "hook_transition"), shown(model, tokens, "hook_state", taps=[last])
    for analyses, found in ((OF_TRANSITIONS, transitions), (OF_STATES, states)):
        for kind, analyse in analyses.items():
            result = analyse(model, tokens)
            assert set(result.table["layer"]) == set(found), kind
            assert result.table["model"].eq("model").all() and result.summary() and result.specification().panels
    matrices = {
        "state": {layer: state[1, 0, 0] for layer, state in states.items()},
        "transition": {layer: transition[1, last, 0].dense() for layer, transition in transitions.items()},
    }
    for of, each in matrices.items():
        result = singular_values(model, tokens, of=of)  # type: ignore[arg-type]
        for layer, matrix in each.items():
            own = result.select(layer=layer, head=0, sequence=1, position=last).table["value"]
            exact = torch.linalg.svdvals(matrix if matrix.ndim == 2 else matrix[:, None]).double().numpy()
            np.testing.assert_allclose(own, exact, rtol=1e-3, atol=1e-5)


def check_behaviour(model: HookedModel) -> None:
    """A word problem, on which the model was not trained: how its transitions compose, and which automaton its answers are."""
    task = WordProblem("Z3")
    tokens = task.batch(6, 8, "test", generator_for(0, 8)).tokens
    result = homomorphism(model, task, sequences=6, length=8)
    for layer, transition in shown(model, tokens, "hook_transition").items():
        maps, _ = mean_maps(transition.double()[:, :, 0].dense(), tokens, 3)
        wanted = float((maps[1] @ maps[2] - maps[0]).norm() / maps.abs().square().sum((1, 2)).mean().sqrt())
        assert np.isclose(result.value("error", layer=layer, head=0, first=1, second=2), wanted, rtol=1e-6)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens, names_filter=RESIDUAL)
    said = logits.argmax(-1)
    automaton = recovered_automaton(cache[RESIDUAL], tokens, said, most=3)
    assert automaton.table["states"].tolist() == list(range(1, len(automaton.table) + 1)) and automaton.summary()
    # One cluster answers what is said most often.
    common = int(said[:3].flatten().mode().values)
    assert np.isclose(automaton.value("answered", states=1), float((said[3:] == common).double().mean()))
    batch = Parity().batch(3, 8, "test", generator_for(0, 8))
    with torch.no_grad():
        right = model(batch.tokens).argmax(-1) == batch.targets
    assert np.isclose(
        accuracy_by_length({"m": model}, Parity(), [8], sequences=3, seed=0).value("accuracy"), right.double().mean()
    )


def check_directions(model: HookedModel, vocabulary: int) -> None:
    """A direction of the residual stream: the components of a sequence, and what adding it to the stream does to the answers."""
    batch = Parity().batch(3, 6, "test", generator_for(0, 6), labels=True)
    with torch.no_grad():
        plain, cache = model.run_with_cache(batch.tokens, names_filter=RESIDUAL)
    present = batch.labels["parity"] == 1
    stream = cache[RESIDUAL].flatten(0, 1)
    along = Direction.difference_of_means(stream, present.flatten(), hook=RESIDUAL, name="parity")
    texts, labels = [str(int(token)) for token in batch.tokens[0]], {"parity": batch.labels["parity"][0]}
    projected = direction_projection(model, [along], batch.tokens[0], texts, labels).table["projection"]
    np.testing.assert_allclose(projected, cache[RESIDUAL][0] @ along.vector / along.scale, rtol=1e-3, atol=1e-4)
    odds = torch.linspace(-1, 1, vocabulary)
    result = steering({"m": (model, along)}, batch, odds, strengths=[0.0, 3.0], seed=0, text_of=list(map(str, range(vocabulary))))
    shift = lambda value, hook: value + 3 * along.scale * along.vector  # noqa: E731
    with torch.no_grad():
        steered = model.run_with_hooks(batch.tokens, fwd_hooks=[(RESIDUAL, shift)])
    change = ((steered.softmax(-1) - plain.softmax(-1)) @ odds)[~present].mean()
    assert abs(result.value("score", direction="parity", strength=0.0)) < 1e-6
    assert np.isclose(result.value("score", direction="parity", strength=3.0), float(change), rtol=1e-3, atol=1e-6)
    assert result.value("divergence", direction="parity", strength=3.0) > 1e-6


def check_operators(model: Any, tokens: Tensor) -> None:
    """Products of the tangent kernel against its matrix, and what the curvatures of the loss must hold."""
    read = lambda logits: logits[:, -1, :2]  # noqa: E731
    kernel = TangentKernelOperator(model, tokens, read=read)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(kernel.shape[1], 1, generator=generator, dtype=torch.float64)
    whole = empirical_ntk(model, tokens, output="full", read=read).flatten(2).flatten(0, 1)
    torch.testing.assert_close(kernel.matmat(v), whole @ v, rtol=1e-5, atol=1e-8)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())

    hessian, gauss_newton = (kind(model, loss, [(tokens, tokens)]) for kind in (Hessian, GaussNewton))
    z, w = (torch.randn(hessian.shape[1], 1, generator=generator, dtype=torch.float64) for _ in range(2))
    for operator in (hessian, gauss_newton):
        torch.testing.assert_close(z.T @ operator.matmat(w), w.T @ operator.matmat(z), rtol=1e-5, atol=1e-7)
    assert float(z.T @ gauss_newton.matmat(z)) > 0


def check_allowed(allowed: AllowedSpectrum, transition: Transition) -> None:
    """The transitions [B, T, H] of a layer keep to what its family allows."""
    values, dense = transition.eigenvalues(), transition.dense()
    real, imaginary = (values.real, values.imag) if values.is_complex() else (values, torch.zeros(1))
    assert allowed.turns or float(imaginary.abs().max()) < 1e-6
    assert float(real.min()) >= allowed.low - 1e-6 and float(real.max()) <= allowed.high + 1e-6
    if allowed.commutes:
        first, second = dense[0, 3], dense[1, 9]
        assert float((first @ second - second @ first).abs().max()) < 1e-9
    if not allowed.chosen:
        assert float((dense - dense[:1, :1]).abs().max()) < 1e-9
