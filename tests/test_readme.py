"""Every code block of the README runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)


@pytest.mark.parametrize("index", [i for i, (language, _) in enumerate(BLOCKS) if language == "python"])
def test_python_blocks_run(index: int, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKS[index][1]], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("index", [i for i, (language, _) in enumerate(BLOCKS) if language in ("bash", "sh", "console")])
def test_shell_blocks_name_what_exists(index: int) -> None:
    """Targets of make, commands of statescope and files: all there. Running them is what other tests do."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    commands = {"run", "list", "show", "figure", "verify", "demo", "app", "atlas", "probe", "inspect"}
    for line in filter(None, map(str.strip, BLOCKS[index][1].splitlines())):
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line
        elif words[:1] == ["statescope"]:
            assert words[1] in commands, line
        else:
            assert words[0] in ("git", "cd", "pip", "sudo", "apt-get"), line


def test_it_has_blocks_of_both_kinds() -> None:
    assert {"python", "bash"} <= {language for language, _ in BLOCKS}
    for name in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        if not name.startswith("http"):
            assert (ROOT / name).exists(), name


def test_what_it_counts_and_lists_is_in_the_registries() -> None:
    from statescope.probe.channel_mixers import ChannelMixerConfig
    from statescope.probe.loaders.table import LIBRARIES, families_read
    from statescope.probe.mixers import MixerConfig

    text = (ROOT / "README.md").read_text()
    words = {6: "six", 7: "seven", 8: "eight"}
    own = [kind for kind in MixerConfig.kinds() if MixerConfig.of_kind(kind).__module__.startswith("statescope.")]
    assert f"{len(own)} mixers" in text and f"{words[len(ChannelMixerConfig.kinds())]} channel mixers" in text
    listed = {
        row: {one.strip() for one in names.split(",")} for row, names in re.findall(r"^\| ([a-z, -]+) \| (.*) \|$", text, re.M)
    }
    for library in LIBRARIES:
        known = {name for adapter in families_read() if adapter.package == library for name in adapter.checkpoints}
        found = set().union(*(names for row, names in listed.items() if row.split(",")[0] == LIBRARIES[library]))
        assert found == known, library
