"""P122: transformers are RNNs."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor
from torch.nn.functional import elu, scaled_dot_product_attention

from ....kernels.effective_attention import effective_attention
from ....kernels.linear_attention import linear_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

TOKENS, SIZE = 128, 16


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k = (elu(draw(2, TOKENS, 2, SIZE)) + 1 for _ in range(2))
    v = draw(2, TOKENS, 2, SIZE)
    found = Findings()
    recurrent = linear_attention(q, k, v, normalise=True, implementation="reference")
    chunked = linear_attention(*(x.float() for x in (q, k, v)), normalise=True)
    found.numbers["chunked in float32 against recurrent"] = difference(chunked.output, recurrent.output)
    mixing = effective_attention(q, k, normalise=True)
    parallel = torch.einsum("bhij,bjhv->bihv", mixing, v)
    found.numbers["parallel against recurrent"] = difference(parallel, recurrent.output)
    # The rank of the mixing matrix without the causal mask: it factors through the features.
    unmasked = torch.einsum("bihk,bjhk->bhij", q, k)
    unmasked = unmasked / unmasked.sum(-1, keepdim=True)
    found.numbers["rank of the mixing matrix"] = float(torch.linalg.matrix_rank(unmasked).max())
    blocks = torch.linalg.matrix_rank(mixing[..., TOKENS // 2 :, : TOKENS // 2])
    found.numbers["rank of its block of late readers and early writers, causal"] = float(blocks.max())
    pairs = (4, 8, 12, 16, 20, 24, 32, 48)
    errors = [_recall(draw, n) for n in pairs]
    found.numbers[f"recall error of {SIZE} pairs, orthonormal keys"] = errors[pairs.index(SIZE)]
    found.numbers[f"recall error of {2 * SIZE} pairs, keys as orthogonal as can be"] = errors[pairs.index(2 * SIZE)]
    found.curves["recall of stored pairs", "identity features"] = (pairs, errors)
    _step_cost(draw, found)
    return found


def _recall(draw: Draw, pairs: int) -> float:
    """Unit keys that are orthonormal up to SIZE of them and a tight frame beyond, where their Gram matrix is a projection."""
    frame = torch.linalg.qr(draw(max(pairs, SIZE), max(pairs, SIZE)))[0][:pairs, :SIZE]
    keys = torch.linalg.qr(draw(SIZE, SIZE))[0][:pairs] if pairs <= SIZE else frame / frame.norm(dim=-1, keepdim=True)
    values = draw(pairs, SIZE)
    state = linear_attention(*(x[None, :, None] for x in (keys, keys, values))).final_state[0, 0]
    return difference(keys @ state, values)


@torch.no_grad()
def _step_cost(draw: Draw, found: Findings) -> None:
    """One token more after n tokens: with a state, and with a cache of keys and values."""
    lengths = (256, 512, 1024, 2048, 4096, 8192)
    heads, size = 8, 64
    state = draw(1, heads, size, size).float()
    token = [draw(1, 1, heads, size).float() for _ in range(3)]
    caches = {n: [draw(1, heads, n, size).float() for _ in range(2)] for n in lengths}
    states, attends = [], []
    for n in lengths:

        def attend(n: int = n) -> Tensor:
            keys, values = caches[n]
            return scaled_dot_product_attention(token[0].transpose(1, 2), keys, values)

        states.append(_seconds(lambda: linear_attention(*token, initial_state=state, implementation="reference")))
        attends.append(_seconds(attend))
    found.curves["cost of one step", "state"] = (lengths, [1e6 * s for s in states])
    found.curves["cost of one step", "cache of keys and values"] = (lengths, [1e6 * s for s in attends])
    found.numbers["state: step time at 8192 over 256"] = states[-1] / states[0]
    found.numbers["cache: step time at 8192 over 256"] = attends[-1] / attends[0]


def _seconds(call: object) -> float:
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


class Forms(Claim, kind="p122-forms"):
    """The equations."""

    paper, scope = "P122", Scope.IDENTITY
    statement = (
        "Parallel, chunked and recurrent forms agree; the mixing matrix has at most the rank of the features; a "
        "step costs the same after any number of tokens; more pairs than key channels cannot be recalled."
    )
    measurements = (
        at_most("chunked in float32 against recurrent", 1e-5),
        at_most("parallel against recurrent", 1e-10),
        at_most("rank of the mixing matrix", SIZE),
        at_most("rank of its block of late readers and early writers, causal", SIZE),
        at_most(f"recall error of {SIZE} pairs, orthonormal keys", 1e-12),
        at_least(f"recall error of {2 * SIZE} pairs, keys as orthogonal as can be", 0.5),
        at_most("state: step time at 8192 over 256", 1.5),
        at_least("cache: step time at 8192 over 256", 4.0),
    )
    panels = (
        Axes("recall of stored pairs", "pairs", f"relative error, {SIZE} key channels"),
        Axes("cost of one step", "tokens before it", "microseconds", x_log=True, y_log=True),
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
