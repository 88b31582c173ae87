"""P068: gated linear units."""

from __future__ import annotations

import torch

from ...probe.models.channel_mixer import CHANNEL_MIXERS, GatedLinearUnit, channel_mixer, hidden_size
from .agreement import difference, seeded
from .claim import Claim
from .findings import Axes, Findings, PaperStudy, measured

WIDTH, EXPANSION = 96, 8 / 3


def experiment(seed: int) -> Findings:
    draw, generator = seeded(seed), torch.Generator().manual_seed(seed)
    found = Findings()
    hidden = {name: hidden_size(name, WIDTH, EXPANSION) for name in CHANNEL_MIXERS}
    mixers = {name: channel_mixer(name, WIDTH, hidden[name], generator).double() for name in CHANNEL_MIXERS}
    counts = {name: sum(parameter.numel() for parameter in mixer.parameters()) for name, mixer in mixers.items()}
    gated = max(abs(count / counts["mlp"] - 1) for count in counts.values())
    found.numbers["parameters of a gated mixer against the MLP's, share apart"] = gated
    found.numbers["hidden units of a gated mixer over the MLP's"] = hidden["swiglu"] / hidden["mlp"]
    x = draw(20, WIDTH)
    bilinear = mixers["bilinear"]
    assert isinstance(bilinear, GatedLinearUnit)
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
    found.axes["size of the output for a scaled input"] = Axes("scale of the input", "|f(s x)| / |f(x)|", x_log=True, y_log=True)
    return found


CLAIM = Claim(
    number="P068",
    paper="GLU Variants Improve Transformer",
    reference="Shazeer 2020, arXiv:2002.05202",
    statement="With 2/3 of the hidden units a gated mixer has the MLP's parameters; the bilinear one is a quadratic "
    "form of its input.",
    study=lambda: PaperStudy(paper="P068"),
    measurements=(
        measured("parameters of a gated mixer against the MLP's, share apart", "at most", 0.02),
        measured("hidden units of a gated mixer over the MLP's", "equals", 2 / 3, 0.01),
        measured("bilinear: f(3 x) against 9 f(x)", "at most", 1e-12),
        measured("bilinear: x^T B x against f(x)", "at most", 1e-5),
        measured("bilinear: B against its transpose", "at most", 1e-12),
        measured("swiglu: f(3 x) against 9 f(x)", "at least", 0.05),
    ),
)
