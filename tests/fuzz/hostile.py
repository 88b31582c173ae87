"""Settings, manifests, tables and checkpoints as strangers and broken disks leave them: what tests and `make fuzz` try."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from statescope import ModelConfig, Training
from statescope.analyses.studies.comparison import Comparison
from statescope.analyses.studies.parity import ParityStudy
from statescope.analyses.studies.source_code import SourceCodeStudy
from statescope.probe.configuration import to_plain

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 10**5000, 0.0, -0.5, 1e308, 1e-320),
    *(math.nan, math.inf, -math.inf, "", "x", "0", "nan", "[/x]", "\x1b[31m", "\ud800", "x" * 10_000, b"bytes", 1j),
    *([], {}, [None], [[]], [1, "x"], [math.nan], {"": 1}, {"kind": "parity"}, {"kind": None}, {"kind": []}, {1: 2}),
    *({"kind": "delta_net", "heads": 0}, {"kind": "source_code", "folder": 5}, ("a",), set(), object()),
]
BASES: list[Any] = [ParityStudy(), SourceCodeStudy(), Comparison(), Training(), ModelConfig(5)]
GONE = (TypeError, KeyError, IndexError, AttributeError, ValueError)  # the place of a change went with an earlier one


def settings(count: int) -> Iterator[tuple[Any, Any]]:
    """(a sound configuration, its plain form with one to three values that are hostile)."""
    draw = random.Random(0)
    plains = [to_plain(base) for base in BASES]
    wheres = [list(_places(plain)) for plain in plains]
    for _ in range(count):
        index = draw.randrange(len(BASES))
        plain = plains[index]
        for _ in range(draw.choice((1, 1, 2, 3))):
            value = draw.choice(HOSTILE)
            for _ in range(draw.choice((0, 0, 0, 1, 40))):
                value = [value]
            try:
                plain = _changed(plain, draw.choice(wheres[index]), value)
            except GONE:
                continue
        yield BASES[index], plain


def settings_files(count: int) -> Iterator[str]:
    """Words of TOML and of settings in any order."""
    draw = random.Random(1)
    words = ["study", "parity", "seed", "width", "training", "steps", "=", "[", "]", "{", "}", '"', "\n", ".", ",", "nan", "1e9"]
    words += ["9" * 50, "-1", "true", "1979-05-27", "'''", "#", "\\u0000", "[[", "]]", "é", "\x07"]
    for _ in range(count):
        yield 'study = "parity"\n' * draw.randrange(2) + " ".join(draw.choices(words, k=draw.randrange(1, 12)))


def manifests(good: dict[str, Any], count: int) -> Iterator[bytes]:
    """A sound manifest with other values, other bytes, or cut off."""
    draw = random.Random(2)
    wheres = list(_places(good))
    hostile = [
        value for value in HOSTILE if isinstance(value, None | bool | int | float | str | list | dict) and value != 10**5000
    ]
    for turn in range(count):
        plain: Any = good
        for _ in range(draw.choice((1, 1, 2, 4))):
            try:
                plain = _changed(plain, draw.choice(wheres), draw.choice(hostile))
            except GONE:
                continue
        data = bytearray(json.dumps(plain).encode())
        if turn % 3 == 0:
            for _ in range(draw.choice((1, 5))):
                data[draw.randrange(len(data))] = draw.randrange(256)
        yield bytes(data[: draw.randrange(len(data))]) if turn % 10 == 0 else bytes(data)


def tables(folder: Path, count: int) -> Iterator[Path]:
    """Files of tables, CSV and Parquet, that were damaged once or twice."""
    draw = random.Random(0)
    whole = pd.DataFrame({"tokens": [[1, 2, 3], [4, 5]], "split": ["train", "test"], "mood": [[0, 1, 1], [0, 0]]})
    whole.to_parquet(folder / "whole.parquet")
    lines = "tokens,split,group,targets,mood\n" + "1 2 3 4,train,a,5 6 7 -100,0 0 1 1\n" * 4 + "5 6,test,b,1 1,0 1\n"
    sources = {"csv": lines.encode(), "parquet": (folder / "whole.parquet").read_bytes()}
    for turn in range(count):
        kind = draw.choice(["csv", "csv", "parquet"])
        data = _damaged(sources[kind], draw)
        for _ in range(draw.randrange(2)):
            data = _damaged(data or b"x", draw)
        path = folder / f"{turn}.{kind}"
        path.write_bytes(data)
        yield path


def checkpoints(folder: Path, count: int) -> Iterator[int]:
    """The folder of a sound checkpoint, damaged anew in each of `count` turns: the number of the turn."""
    config, weights = json.loads((folder / "config.json").read_text()), (folder / "model.safetensors").read_bytes()
    for seed in range(count):
        draw = random.Random(seed)
        mutated, data = _mutated(draw, config.get("config", config), weights)
        (folder / "config.json").write_text(json.dumps(config | {"config": mutated} if "config" in config else mutated))
        (folder / "model.safetensors").write_bytes(data)
        yield seed


def _places(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(plain: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = plain.copy()
    copy[path[0]] = _changed(copy[path[0]], path[1:], value)
    return copy


def _damaged(data: bytes, draw: random.Random) -> bytes:
    """A file as it comes back from a spreadsheet, a broken disk or a stranger."""
    at, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    ways: list[Callable[[], bytes]] = [
        lambda: data[:at],
        lambda: data[:at] + bytes(draw.randrange(256) for _ in range(8)) + data[at:],
        lambda: data[:at] + data[end:],
        lambda: data.replace(b"train", draw.choice([b"Train", b"", b"test,test", b"nan"]), 1),
        lambda: data.replace(b" ", draw.choice([b"  ", b",", b"\t", b"\x00", b" 1e9 ", b" " + b"9" * 30 + b" "]), 3),
        lambda: data.replace(b"tokens", draw.choice([b"split", b"group", b"Tokens", b"", b"targets", b"tokens,tokens"]), 1),
        lambda: data.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n", b",\n", b'"\n'])),
        lambda: data.decode("latin-1").encode(draw.choice(["utf-16", "utf-32", "utf-8-sig"])),
        lambda: data[at:end] * 3,
    ]
    return draw.choice(ways)()


VALUES: list[Any] = [None, -1, 0, 1, 3, 7, 10**9, 1.5, 1e300, "x", "", [], [1, "a"], {}, {"a": {"b": 1}}, True, False, "float16"]


def _mutated(draw: random.Random, config: dict[str, Any], weights: bytes) -> tuple[dict[str, Any], bytes]:
    """One to three of: a setting of another value or type, or gone; bytes of the weights changed, cut off or added."""
    config, data = dict(config), bytearray(weights)
    header = int.from_bytes(weights[:8], "little")
    for _ in range(draw.randint(1, 3)):
        match draw.randrange(6):
            case 0 | 1:
                config[draw.choice(list(config))] = draw.choice(VALUES)
            case 2:
                config.pop(draw.choice(list(config)))
            case 3:
                data[draw.randrange(min(8 + header, len(data)))] = draw.randrange(256)
            case 4:
                del data[draw.randrange(1, len(data) + 1) :]
            case 5:
                at = draw.randrange(min(8 + header, len(data)))
                data[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
    return config, bytes(data)
