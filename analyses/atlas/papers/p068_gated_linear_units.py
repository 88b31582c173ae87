"""P068: gated linear units."""

from __future__ import annotations

import torch

from ....probe.channel_mixers import GEGLU, GLU, MLP, ReGLU, SwiGLU
from ....probe.channel_mixers import Bilinear as BilinearUnit
from ....probe.channel_mixers.gated_linear_units import BilinearMixer
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

WIDTH, EXPANSION = 96, 8 / 3
KINDS = (MLP(), GLU(), ReGLU(), GEGLU(), SwiGLU(), BilinearUnit())


def experiment(seed: int) -> Findings:
    draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
    found = Findings()
    hidden = {one.kind: one.hidden_size(WIDTH, EXPANSION) for one in KINDS}
    mixers = {one.kind: one.build(WIDTH, hidden[one.kind], generator).double() for one in KINDS}
    counts = {name: sum(parameter.numel() for parameter in mixer.parameters()) for name, mixer in mixers.items()}
    gated = max(abs(count / counts["mlp"] - 1) for count in counts.values())
    found.numbers["parameters of a gated mixer against the MLP's, share apart"] = gated
    found.numbers["hidden units of a gated mixer over the MLP's"] = hidden["swiglu"] / hidden["mlp"]
    x = draw(20, WIDTH)
    bilinear = mixers["bilinear"]
    assert isinstance(bilinear, BilinearMixer)
    with torch.no_grad():
        output = bilinear(x)
        found.numbers["bilinear: f(3 x) against 9 f(x)"] = difference(bilinear(3 * x), 9 * output)
        tensor = bilinear.interactions()
        found.numbers["bilinear: x^T B x against f(x)"] = difference(torch.einsum("ni,kij,nj->nk", x, tensor, x), output)
        found.numbers["bilinear: B against its transpose"] = difference(tensor.mT, tensor)
        scales = torch.linspace(0.1, 4, 40, dtype=torch.float64)
        for name, mixer in mixers.items():
            sizes = [float(mixer(scale * x).norm() / mixer(x).norm()) for scale in scales]
            found.curves["size of the output for a scaled input", name] = (scales.tolist(), sizes)
        found.numbers["swiglu: f(3 x) against 9 f(x)"] = difference(mixers["swiglu"](3 * x), 9 * mixers["swiglu"](x))
    return found


class Bilinear(Claim, kind="p068-bilinear"):
    """The equations."""

    paper, scope = "P068", Scope.IDENTITY
    statement = (
        "With 2/3 of the hidden units a gated mixer has the MLP's parameters; the bilinear one is a quadratic form of its input."
    )
    measurements = (
        at_most("parameters of a gated mixer against the MLP's, share apart", 0.02),
        equals("hidden units of a gated mixer over the MLP's", 2 / 3, 0.01),
        at_most("bilinear: f(3 x) against 9 f(x)", 1e-12),
        at_most("bilinear: x^T B x against f(x)", 1e-5),
        at_most("bilinear: B against its transpose", 1e-12),
        at_least("swiglu: f(3 x) against 9 f(x)", 0.05),
    )
    panels = (Axes("size of the output for a scaled input", "scale of the input", "|f(s x)| / |f(x)|", x_log=True, y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
