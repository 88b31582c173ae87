"""P343: attention that performs a convolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ....probe.mixers.base import ShortConvolution
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..hooked import attention_reads
from ..measurement import Scope, at_least, at_most

HEIGHT, WIDTH, CHANNELS, SPAN = 6, 7, 4, 3
SATURATED = 1e3  # a score beside which all others have no weight
STEPS, STARTS = 150, 4  # of the descent that looks for fewer heads

PLANE = "9 heads against a 3 x 3 convolution, at pixels within"
LINE = "4 causal heads against the package's causal convolution over 4 tokens"
BOUND = "{} heads: best error of a map of so many slices"
FOUND = "8 heads: error of the best that descent finds, less the least that any have"
FEWER = Axes("a random 3 x 3 kernel by heads that attend by position", "heads", "relative error")


class Convolution(Claim, kind="p343-convolution"):
    """A head that attends by position alone mixes shifts by its shares, and applies one matrix to the mixture: H heads make a
    kernel of 9 slices a sum of H products, and a random one, whose slices have rank 9, takes 9.
    """

    paper, scope = "P343", Scope.CONSTRUCTION
    statement = (
        "K^2 heads, each saturated on one relative position with the kernel's slice as its value map, are a K x K convolution; 8 "
        "heads that attend by position leave an error on random kernels of 9 slices. In one dimension, causal attention so "
        "performs a short convolution."
    )
    measurements = (
        at_most(PLANE, 1e-12),
        at_most(LINE, 1e-12),
        at_most(BOUND.format(9), 1e-12),
        at_least(BOUND.format(8), 0.05, "relative error"),
        at_least(FOUND, -1e-9, "relative error"),
    )
    panels = (FEWER,)
    note = "Training in two phases, from a convolution to attention, is not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        image, kernel = draw(HEIGHT, WIDTH, CHANNELS), draw(CHANNELS, CHANNELS, SPAN, SPAN)
        truth = conv2d(image.movedim(-1, 0)[None], kernel)[0].movedim(0, -1)
        found.numbers[PLANE] = difference(_by_heads(image, kernel)[1:-1, 1:-1], truth)
        found.numbers[LINE] = _against_short_convolution(draw(12, CHANNELS), seed)
        slices = kernel.flatten(2).permute(2, 0, 1).flatten(1)  # [9, out x in]
        values = torch.linalg.svdvals(slices)
        errors = [float(values[heads:].norm() / values.norm()) for heads in range(1, SPAN**2 + 1)]
        found.numbers |= {BOUND.format(heads): errors[heads - 1] for heads in (8, 9)}
        found.numbers[FOUND] = _descended(slices, 8, draw) - errors[7]
        found.curves[FEWER.title, "least, by singular values"] = (list(range(1, SPAN**2 + 1)), errors)
        return found


def _by_heads(image: Tensor, kernel: Tensor) -> Tensor:
    """The package's attention over the pixels, then over queries, one a pixel: head (i, j) looks from a pixel to the one that is
    (i - 1, j - 1) further, around the edges.
    """
    pixels = HEIGHT * WIDTH
    places = torch.arange(pixels).view(HEIGHT, WIDTH)
    steps = [(i, j) for i in range(-1, 2) for j in range(-1, 2)]
    seen = torch.stack([places.roll((-i, -j), (0, 1)).flatten() for i, j in steps], 1)  # [pixels, 9]
    place = torch.eye(pixels, dtype=torch.float64)
    asked, kept = SATURATED * pixels**0.5 * place[seen], place[:, None].expand(-1, len(steps), -1)
    v = torch.einsum("nc,dcs->nsd", image.flatten(0, 1), kernel.flatten(2))
    rows = [torch.cat([first, second])[None] for first, second in ((0 * asked, asked), (kept, 0 * kept), (v, 0 * v))]
    return attention_reads(*rows)[0, pixels:].sum(1).view(HEIGHT, WIDTH, CHANNELS)


def _against_short_convolution(x: Tensor, seed: int) -> float:
    """Causal attention with one head a lag against the package's depthwise convolution; tokens before the first are zeros."""
    convolution = ShortConvolution(CHANNELS, 4, torch.Generator().manual_seed(seed)).double()
    lags, padded = convolution.weight.shape[-1], torch.cat([x.new_zeros(4, CHANNELS), x])
    length, place = len(padded), torch.eye(len(padded), dtype=torch.float64)
    seen = (torch.arange(length)[:, None] - torch.arange(lags)).clamp(min=0)  # from t to t - j
    q, k = SATURATED * length**0.5 * place[seen], place[:, None].expand(-1, lags, -1)
    weights = convolution.weight.detach().view(CHANNELS, lags).flip(-1)  # w_j of the token j before
    v = torch.einsum("nc,cj->njc", padded, weights)
    return difference(attention_reads(q[None], k[None], v[None])[0, 4:].sum(1), convolution(x[None])[0].detach())


def _descended(slices: Tensor, heads: int, draw: Draw) -> float:
    """The least error that Adam finds over the shares that heads give the 9 positions; their matrices are least squares."""
    best = float("inf")
    for _ in range(STARTS):
        logits = (2 * draw(heads, len(slices))).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.1)
        for _ in range(STEPS):
            basis = torch.linalg.qr(logits.softmax(-1).mT).Q
            error = (slices - basis @ (basis.mT @ slices)).norm() / slices.norm()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            best = min(best, float(error.detach()))
    return best
