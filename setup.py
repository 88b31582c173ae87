"""Which packages there are: each folder of the four rooms that holds code. All other settings stand in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOMS = ("kernels", "probe", "analyses", "app")


class BuildPackages(build_py):
    """The packages without setup.py, which lies beside their files and is none of them."""

    def find_package_modules(self, package: str, folder: str) -> list[tuple[str, str, str]]:
        """List what setuptools finds, without setup.py."""
        return [entry for entry in super().find_package_modules(package, folder) if entry[1] != "setup"]


folders = {path.parent for room in ROOMS for path in Path(room).rglob("*.py")}
setup(
    packages=["statescope", *sorted(".".join(("statescope", *folder.parts)) for folder in folders)],
    cmdclass={"build_py": BuildPackages},
)
