"""P122: transformers are RNNs."""

from __future__ import annotations

from typing import Any

import torch

from ....kernels.effective_attention import effective_attention
from ....kernels.linear_attention import linear_attention
from ....probe.mixers import Attention, LinearAttention, MixerConfig
from ....probe.mixers.base import Memory
from ....probe.mixers.feature_maps import elu_plus_one
from ....probe.models.generate import memory_bytes, stream_logits
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, operations, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, small_model
from ..measurement import Scope, at_least, at_most, equals

TOKENS, SIZE = 128, 16
SHORT, LONG = 16, 64

CHUNKED = "chunked in float32 against recurrent"
PARALLEL = "parallel against recurrent"
RANK = "rank of the mixing matrix, not causal"
BLOCK = "rank of its block of late readers and early writers, causal"
FITS = f"recall error of {SIZE} pairs, orthonormal keys"
TOO_MANY = f"recall error of {2 * SIZE} pairs, keys as orthogonal as can be"
STEP = "{}: operations that a step has more for each token before it"
BYTES = "{}: bytes kept for each token before a step"
RECALLED = Axes("recall of stored pairs", "pairs", f"relative error, {SIZE} key channels")
KEPT = Axes("what a step costs", "tokens before it", "multiplications and additions", y_log=True)


class Forms(Claim, kind="p122-forms"):
    """The three forms, their rank, their cost."""

    paper, scope = "P122", Scope.IDENTITY
    statement = (
        "Parallel, chunked and recurrent forms agree; the mixing matrix has at most the rank of the features; a step costs and "
        "keeps the same after any number of tokens, where a cache of keys and values grows; more pairs than key channels cannot "
        "be recalled."
    )
    measurements = (
        at_most(CHUNKED, 1e-5),
        at_most(PARALLEL, 1e-10),
        at_most(RANK, SIZE, "rank"),
        at_most(BLOCK, SIZE, "rank"),
        at_most(FITS, 1e-12),
        at_least(TOO_MANY, 0.5, "relative error"),
        equals(STEP.format("state"), 0.0, unit="operations"),
        at_least(STEP.format("cache"), 1.0, "operations"),
        equals(BYTES.format("state"), 0.0, unit="bytes"),
        at_least(BYTES.format("cache"), 1.0, "bytes"),
    )
    panels = (RECALLED, KEPT)
    note = "Times a step are not measured; operations and bytes are counted instead, which no load of the machine changes."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        q, k = (elu_plus_one(draw(2, TOKENS, 2, SIZE)) for _ in range(2))
        v = draw(2, TOKENS, 2, SIZE)
        recurrent = linear_attention(q, k, v, normalise=True, implementation="reference").output
        chunked = linear_attention(*(x.float() for x in (q, k, v)), normalise=True, implementation="chunked").output
        mixing = effective_attention(q, k, normalise=True)
        both_ways = torch.einsum("bihk,bjhk->bhij", q, k)
        found = Findings(
            {
                CHUNKED: difference(chunked, recurrent),
                PARALLEL: difference(torch.einsum("bhij,bjhv->bihv", mixing, v), recurrent),
                RANK: float(torch.linalg.matrix_rank(both_ways / both_ways.sum(-1, keepdim=True)).max()),
                BLOCK: float(torch.linalg.matrix_rank(mixing[..., TOKENS // 2 :, : TOKENS // 2]).max()),
            }
        )
        pairs = (4, 8, 12, 16, 20, 24, 32, 48)
        errors = [_recall_error(draw, n) for n in pairs]
        found.curves[RECALLED.title, "identity features"] = (pairs, errors)
        found.numbers |= {FITS: errors[pairs.index(SIZE)], TOO_MANY: errors[pairs.index(2 * SIZE)]}
        for name, mixer in (("state", LinearAttention(heads=2)), ("cache", Attention(heads=2))):
            _count(name, mixer, seed, found)
        return found


def _recall_error(draw: Draw, pairs: int) -> float:
    """Unit keys that are orthonormal up to SIZE of them and a tight frame beyond, where their Gram matrix is a projection."""
    frame = torch.linalg.qr(draw(max(pairs, SIZE), max(pairs, SIZE)))[0][:pairs, :SIZE]
    keys = torch.linalg.qr(draw(SIZE, SIZE))[0][:pairs] if pairs <= SIZE else frame / frame.norm(dim=-1, keepdim=True)
    values = draw(pairs, SIZE)
    state = linear_attention(*(x[None, :, None] for x in (keys, keys, values))).final_state[0, 0]
    return difference(keys @ state, values)


def _count(name: str, mixer: MixerConfig, seed: int, found: Findings) -> None:
    """What a step of generation computes and what it leaves in memory, by the number of tokens before it."""
    model, tokens = small_model(mixer, seed), drawn_tokens(seed, LONG + 1, batch=1)
    stream = stream_logits(model, tokens)
    held: list[list[Memory]] = []
    costs, kept = [], []
    watched: list[Any] = [(name, lambda value, hook: value) for name in model.hook_dict if name.endswith("hook_pattern")]
    with model.hooks(fwd_hooks=watched):  # its products of matrices are then computed one by one, and counted
        for _ in range(LONG + 1):
            costs.append(operations(lambda: held.append(next(stream)[1])))
            kept.append(memory_bytes(held[-1]))
    for what, each in ((STEP, costs), (BYTES, kept)):
        found.numbers[what.format(name)] = (each[LONG] - each[SHORT]) / (LONG - SHORT)
    found.curves[KEPT.title, name] = (list(range(1, LONG + 1)), costs[1:])
