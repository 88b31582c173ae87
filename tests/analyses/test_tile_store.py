"""A kernel in tiles on disk: the same as in memory, gone on with after a crash, and never believed when it was altered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from operator_checks import check_operator
from safetensors.torch import save_file
from torch import Tensor, nn

from statescope import DeltaNet, Model, ModelConfig, empirical_ntk
from statescope.analyses.ntk import tile_store
from statescope.analyses.ntk.samples import Samples
from statescope.analyses.ntk.tile_store import OtherKernelError, TileStore, store_tangent_kernel
from statescope.analyses.operators.lanczos import top_eigenpairs
from statescope.kernels.arguments import NonFiniteError
from statescope.probe.errors import NotEnoughMemoryError, UnknownNameError
from statescope.probe.files import DamagedFileError, write_whole
from statescope.probe.tensor_file import write_tensors


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))


X = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))


def test_tiles_are_the_kernel(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    store = store_tangent_kernel(network(), X, tmp_path, tile=4, advance=lambda *at: done.append(at))
    exact = empirical_ntk(network(), X)
    assert not store.missing and done[-1] == (6, 6)
    assert len(list(tmp_path.glob("tile-*"))) == 6  # of nine, those on and above the diagonal
    torch.testing.assert_close(store.dense(), exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(store.diagonal(), exact.diagonal(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(store.read(2, 0), exact[8:, :4], rtol=1e-12, atol=1e-12)
    check_operator(store)
    top = top_eigenpairs(TileStore(tmp_path), 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(top.values, torch.linalg.eigvalsh(exact).flip(0)[:3], rtol=1e-9, atol=0)


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = tile_store.tangent_kernel, []

    def failing(*args: object, **rest: object) -> object:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return own(*args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tile_store, "tangent_kernel", failing)
    with pytest.raises(KeyboardInterrupt):
        store_tangent_kernel(network(), X, tmp_path, 1, tile=4)
    assert len(TileStore(tmp_path).missing) == 3
    with pytest.raises(DamagedFileError, match="is missing; call store_tangent_kernel"):
        TileStore(tmp_path).dense()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("tile-*")}
    store = store_tangent_kernel(network(), X, tmp_path, 1, tile=4)
    assert len(calls) == 4 + 1 + 3  # one of them sees that what is stored is of the same kernel
    assert all(path.stat().st_mtime_ns == then for path, then in written.items())
    torch.testing.assert_close(store.dense(), empirical_ntk(network(), X, output=1), rtol=1e-12, atol=1e-12)


def test_the_same_kernel_is_the_same_bytes(tmp_path: Path) -> None:
    """Whoever fills a folder: a header of several keys would stand in another order each time."""
    for name in ("one", "other"):
        store_tangent_kernel(network(), X, tmp_path / name, tile=2)
    found = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert len(found) > 20 and all((tmp_path / "other" / name).read_bytes() == data for name, data in found.items())


def test_another_kernel_is_refused(tmp_path: Path) -> None:
    store_tangent_kernel(network(), X, tmp_path, tile=6)
    with pytest.raises(OtherKernelError, match="differs in output"):
        store_tangent_kernel(network(), X, tmp_path, 0, tile=6)
    with pytest.raises(OtherKernelError, match="samples or parameters"):
        store_tangent_kernel(network(), X + 1e-7, tmp_path, tile=6)
    changed = network()
    with torch.no_grad():
        changed[0].bias[0] += 1e-6  # type: ignore[index, operator]
    with pytest.raises(OtherKernelError):
        store_tangent_kernel(changed, X, tmp_path, tile=6)
    with pytest.raises(OtherKernelError, match="parameters"):
        store_tangent_kernel(network(), X, tmp_path, tile=6, parameters="0.*")
    with pytest.raises(ValueError, match="the trace over outputs"):
        store_tangent_kernel(network(), X, tmp_path, "full")
    with pytest.raises(NotEnoughMemoryError):
        store_tangent_kernel(network(), X, tmp_path / "other", tile=6, memory=100)


class Scaled(nn.Module):
    """A network with a number that is no tensor of its state dict."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network(), factor

    def get_extra_state(self) -> dict[str, float]:
        return {"factor": self.factor}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.factor = state["factor"]

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.network(x)


def test_a_kernel_that_differs_in_what_no_tensor_holds_is_refused(tmp_path: Path) -> None:
    """The same parameters behind another activation function, another factor, and another `read` of the same name."""
    tanh, relu = network(), network()
    relu[1] = nn.ReLU()
    store_tangent_kernel(tanh, X, tmp_path / "activation", tile=4)
    with pytest.raises(OtherKernelError, match="other numbers of samples 0 and 0"):
        store_tangent_kernel(relu, X, tmp_path / "activation", tile=4)
    store_tangent_kernel(Scaled(1.0), X, tmp_path / "factor", tile=2)
    with pytest.raises(OtherKernelError, match="other numbers of samples 0 and 0"):
        store_tangent_kernel(Scaled(1.1), X, tmp_path / "factor", tile=2)
    store_tangent_kernel(tanh, X, tmp_path / "read", tile=40, read=lambda out: out)
    with pytest.raises(OtherKernelError, match="other numbers of samples 0 and 0"):
        store_tangent_kernel(tanh, X, tmp_path / "read", tile=40, read=lambda out: out.flip(1) * 2)
    same = store_tangent_kernel(tanh, X, tmp_path / "read", tile=40, read=lambda out: out)
    torch.testing.assert_close(same.dense(), empirical_ntk(tanh, X), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"tile=1.5 must be a positive whole number"):
        store_tangent_kernel(tanh, X, tmp_path / "half", tile=1.5)  # type: ignore[arg-type]
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("left", [(1, 1), (0, 2)])
def test_tiles_of_two_models_never_mix(left: tuple[int, int], tmp_path: Path) -> None:
    """The first tile may be gone, since a damaged one is deleted and filled again: any that is there is compared."""
    store = store_tangent_kernel(network(), X, tmp_path, tile=4)
    for place in store.places():
        if place != left:
            store.path(*place).unlink()
    relu = network()
    relu[1] = nn.ReLU()
    at = " and ".join(str(4 * block) for block in left)
    with pytest.raises(OtherKernelError, match=f"other numbers of samples {at} "):
        store_tangent_kernel(relu, X, tmp_path, tile=4)
    assert len(store.missing) == 5
    again = store_tangent_kernel(network(), X, tmp_path, tile=4)
    torch.testing.assert_close(again.dense(), empirical_ntk(network(), X), rtol=1e-12, atol=1e-12)


def test_what_was_refused_stands_in_nobodys_way(tmp_path: Path) -> None:
    """A call that ends before its first tile, such as one whose tiles do not fit, is followed by another in the same folder."""
    with pytest.raises(NotEnoughMemoryError, match="store_tangent_kernel.*in tiles that fit"):
        store_tangent_kernel(network(), X, tmp_path, tile=11, memory=100)
    with pytest.raises(IndexError, match="none of them is 9"):
        store_tangent_kernel(network(), X, tmp_path, 9, tile=2)
    with pytest.raises(UnknownNameError, match="did you mean 'trace'"):
        store_tangent_kernel(network(), X, tmp_path, "trce", tile=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"0\.weight has no values yet"):
        store_tangent_kernel(network().to("meta"), X, tmp_path, tile=2)
    store = store_tangent_kernel(network(), X, tmp_path, np.int64(1), tile=np.int64(2))  # type: ignore[arg-type]
    torch.testing.assert_close(store.dense(), empirical_ntk(network(), X, output=1), rtol=1e-12, atol=1e-12)
    for tile in (True, 0, 2.0, "2"):
        with pytest.raises(ValueError, match=f"tile={tile} must be a positive whole number"):
            store_tangent_kernel(network(), X, tmp_path, 1, tile=tile)  # type: ignore[arg-type]
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text('{"study": "parity"}')
    with pytest.raises(DamagedFileError, match="no manifest of tiles: it lacks 'version'"):
        store_tangent_kernel(network(), X, run)
    assert (run / "manifest.json").read_text() == '{"study": "parity"}', "a folder of something else is as it was"


def test_a_tile_that_was_altered_is_not_believed(tmp_path: Path) -> None:
    store = store_tangent_kernel(network(), X, tmp_path, tile=6)
    path = store.path(0, 1)
    good = path.read_bytes()
    path.write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    with pytest.raises(DamagedFileError, match="not as it was written"):
        store.dense()
    path.write_bytes(good[:40])
    with pytest.raises(DamagedFileError, match="is damaged"):
        store.matvec(torch.ones(11, dtype=torch.float64))
    path.unlink()
    path.symlink_to(store.path(0, 0))
    with pytest.raises(DamagedFileError, match="it is a link"):
        store.read(0, 1)
    path.unlink()
    path.write_bytes(store.path(0, 0).read_bytes())  # of this kernel, whole, and another tile
    with pytest.raises(DamagedFileError, match="another tile"):
        store.read(0, 1)
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(DamagedFileError, match="version 9, not 2, in which store_tangent_kernel fills another folder"):
        TileStore(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="no manifest"):
        TileStore(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        *({"samples": value} for value in (0, -1, True, "11", 10**18, None)),
        *({"tile": value} for value in (0, -4, 4.0, [4])),
        *({"digest": value} for value in (None, 5)),
        {"version": 1},
    ],
)
def test_a_manifest_that_is_none(change: dict[str, object], tmp_path: Path) -> None:
    store_tangent_kernel(network(), X, tmp_path, tile=11)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(DamagedFileError, match="is no manifest of tiles"):
        TileStore(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(11, 11, dtype=torch.int64),
        torch.zeros(11, 11),
        torch.zeros(121, 1, dtype=torch.float64),
        torch.full((11, 11), torch.nan, dtype=torch.float64),
        torch.tensor(1.0, dtype=torch.float64),
    ],
)
def test_a_tile_of_other_numbers_is_not_believed_whatever_its_digest(values: Tensor, tmp_path: Path) -> None:
    store = store_tangent_kernel(network(), X, tmp_path, tile=11)
    about = {"kernel": store.digest, "tile": [0, 0], "digest": tile_store._digest(values)}
    write_tensors(store.path(0, 0), tile_store.TILE, {"kernel": values}, about)
    with pytest.raises(DamagedFileError, match=r"holds no finite numbers \[11, 11\] in float64"):
        store.dense()


def test_a_kernel_that_is_not_finite_is_not_stored(tmp_path: Path) -> None:
    class Root(nn.Module):
        """Finite, without a finite derivative at 0."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.sqrt()

    with pytest.raises(NonFiniteError, match="gradient in scale is not"):
        store_tangent_kernel(Root(), X, tmp_path, tile=11)
    assert not list(tmp_path.glob("tile-*"))


def test_sequences_of_different_lengths(tmp_path: Path) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).eval()
    tokens, lengths = torch.randint(0, 5, (5, 6)), torch.tensor([6, 2, 3, 5, 4])
    store = store_tangent_kernel(model, Samples(tokens, positions=lengths - 1), tmp_path, tile=2)
    exact: Tensor = empirical_ntk(model, Samples(tokens, positions=lengths - 1))
    torch.testing.assert_close(store.dense(), exact, rtol=1e-10, atol=1e-12)


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    """A folder that is opened while a tile is being written keeps what is written, and loses what a killed process left."""
    store = store_tangent_kernel(network(), X, tmp_path, tile=6)
    abandoned = tmp_path / ".tile-00000-00001.safetensors.abcd1234.part"

    def write(temporary: Path) -> None:
        save_file({"kernel": torch.ones(6, 5)}, str(temporary))
        abandoned.write_bytes(b"half")
        store_tangent_kernel(network(), X, tmp_path, tile=6)
        assert temporary.exists()

    write_whole(tmp_path / "own.safetensors", write)
    assert (tmp_path / "own.safetensors").exists() and not store.missing
    store_tangent_kernel(network(), X, tmp_path, tile=6)
    assert not abandoned.exists()
