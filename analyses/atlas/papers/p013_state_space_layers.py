"""P013: linear state-space layers and their discretisations."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.dense_scan import dense_scan
from ....kernels.diagonal_scan import convolve, diagonal_scan
from ....probe.mixers import LSSL
from ....probe.mixers.hippo import SYSTEMS, discretise, krylov
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_least, at_most

SIZE, LENGTH, STEP, DRAWN = 8, 256, 0.05, 200
RULES = ("euler", "bilinear", "backward")

VIEWS = "{}: recurrence in float32 against convolution"
DIAGONAL = "scan against convolution, diagonal, float32"
LAYER = "the layer's states against its equation, discretised bilinearly"
GATE = "a sigmoid-gated unit against backward Euler of x' = -x + u, step e^z"
RADIUS = "{}: largest modulus of an eigenvalue that a stable system is given"
LINE = Axes("where discretisation puts -0.1 + i w", "w times step", "modulus", y_log=True)


class Views(Claim, kind="p013-views"):
    """Recurrence, convolution and discretisation are compared with each other."""

    paper, scope = "P013", Scope.IDENTITY
    statement = (
        "The recurrent and convolutional views agree; a gated unit is backward Euler of x' = -x + u; the bilinear transform maps "
        "the left half-plane into the unit circle, Euler's does not."
    )
    measurements = (
        *(at_most(VIEWS.format(name), 1e-4) for name in ("legs", "legt")),
        at_most(DIAGONAL, 1e-4),
        at_most(LAYER, 1e-5),
        at_most(GATE, 1e-12, "absolute error"),
        at_most(RADIUS.format("bilinear"), 1.0, "modulus"),
        at_most(RADIUS.format("backward"), 1.0, "modulus"),
        at_least(RADIUS.format("euler"), 1.5, "modulus"),
    )
    panels = (LINE,)
    note = "Sequences of 16,000 samples of speech are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        found = Findings({VIEWS.format(name): _views(draw, name) for name in ("legs", "legt")})
        found.numbers |= {DIAGONAL: _diagonal(draw), LAYER: _layer(seed), GATE: _gate(draw)}
        systems = torch.stack([_rotating(-abs(x), 3 * y) for x, y in draw(DRAWN, 2).tolist()])
        angles = torch.linspace(-10, 10, 81, dtype=torch.float64)
        line = torch.stack([_rotating(-0.1, float(angle)) for angle in angles])
        for rule in RULES:
            found.numbers[RADIUS.format(rule)] = float(_moduli(systems, rule).max())
            found.curves[LINE.title, rule] = (angles.tolist(), _moduli(line, rule).tolist())
        return found


def _views(draw: Draw, name: str) -> float:
    a, b = discretise(*SYSTEMS[name](SIZE), STEP)
    c, u = draw(SIZE), draw(LENGTH)
    kernel = krylov(a, b, c, LENGTH)
    convolved = torch.fft.irfft(torch.fft.rfft(kernel, 2 * LENGTH) * torch.fft.rfft(u, 2 * LENGTH), 2 * LENGTH)[:LENGTH]
    states = dense_scan((b * u[:, None])[None, :, None].float(), a[None].float()).output
    return difference(states[0, :, 0] @ c.float(), convolved)


def _diagonal(draw: Draw) -> float:
    decay = torch.polar(draw(1, SIZE).sigmoid(), draw(1, SIZE)).to(torch.complex64)
    x = draw(2, LENGTH, 1, SIZE).float()
    return difference(convolve(x, decay), diagonal_scan(x.to(torch.complex64), decay).output)


def _layer(seed: int) -> float:
    """(1 - d A / 2) x_t = (1 + d A / 2) x_(t-1) + d B u_t, of the package's layer: how far its states are from solving it."""
    model, tokens = small_model(LSSL(state_size=SIZE), seed), drawn_tokens(seed, 60)
    mixer = model.mixer(0)
    states = observed(model, tokens, "state")["state"]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter="blocks.0.ln1.hook_normalized")
        u = cache["blocks.0.ln1.hook_normalized"] * model.get_parameter("blocks.0.ln1.weight")
    a, b = SYSTEMS["legs"](SIZE)
    half = mixer.log_step.detach().double().exp()[:, None, None] * a / 2
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
    eye = torch.eye(SIZE, dtype=torch.float64)
    left = torch.einsum("hij,bthj->bthi", eye - half, states)
    right = torch.einsum("hij,bthj->bthi", eye + half, before) + mixer.log_step.detach().exp()[:, None] * b * u[..., None]
    return difference(left, right)


def _gate(draw: Draw) -> float:
    held = euler = torch.zeros((), dtype=torch.float64)
    system = torch.tensor([[-1.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    worst = 0.0
    for z, u in zip(draw(DRAWN), draw(DRAWN), strict=True):
        held = (1 - z.sigmoid()) * held + z.sigmoid() * u
        a, b = discretise(*system, float(z.exp()), "backward")
        euler = a[0, 0] * euler + b[0] * u
        worst = max(worst, abs(float(held - euler)))
    return worst


def _rotating(real: float, imaginary: float) -> Tensor:
    """A real system with the eigenvalues real +- i imaginary."""
    return torch.tensor([[real, imaginary], [-imaginary, real]], dtype=torch.float64)


def _moduli(systems: Tensor, rule: str) -> Tensor:
    """The largest modulus of the eigenvalues that the package's discretisation with step 1 gives each system."""
    drive = torch.ones(2, dtype=torch.float64)
    return torch.stack([torch.linalg.eigvals(discretise(a, drive, 1.0, rule)[0]).abs().max() for a in systems])
