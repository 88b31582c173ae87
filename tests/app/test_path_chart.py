"""The path of a state on the page of states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from statescope.app.components.path_chart import path_chart

TOKENS = 60


def rows() -> pd.DataFrame:
    walk = np.random.default_rng(0).normal(size=(TOKENS, 3)).cumsum(0)
    change = np.ones(TOKENS)
    change[[3, 30, 41]] = 9.0
    columns = {f"axis_{axis + 1}": walk[:, axis] for axis in range(3)}
    texts = [f"<{number}>" for number in range(TOKENS)]
    return pd.DataFrame({**columns, "position": range(TOKENS), "token": texts, "label": np.arange(TOKENS) % 4, "change": change})


@pytest.mark.parametrize("space", [False, True])
def test_the_last_tokens_are_drawn_in_full_and_nothing_after_the_chosen_one(space: bool) -> None:
    table = rows()
    past, recent, now, words = path_chart(table, 45, 16, "depth", space=space, dark=False).data
    first = table["axis_1"].to_numpy()
    np.testing.assert_array_equal(past.x, first[:31])
    np.testing.assert_array_equal(recent.x, first[30:46])
    np.testing.assert_array_equal(now.x, first[45:46])
    assert past.mode == "lines" and past.opacity < 0.3 and recent.opacity is None
    assert {"&lt;30&gt;", "&lt;41&gt;"} <= set(words.text) and "&lt;3&gt;" not in words.text, "turns of the recent path, as text"


def test_axes_and_colours_stay_while_the_token_moves() -> None:
    one, other = (path_chart(rows(), position, 8, "depth", space=False, dark=False) for position in (0, 59))
    assert one.layout.xaxis.range == other.layout.xaxis.range and one.layout.yaxis.range == other.layout.yaxis.range
    assert one.data[1].marker.cmin == other.data[1].marker.cmin == -0.5
    low, high = other.layout.xaxis.range
    assert low < rows()["axis_1"].min() and high > rows()["axis_1"].max()


def test_all_tokens_in_full_leave_no_past() -> None:
    past, recent, _, _ = path_chart(rows(), 59, None, "depth", space=False, dark=True).data
    assert len(recent.x) == TOKENS and len(past.x) == 1
