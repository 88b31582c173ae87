"""Our recurrences in the place of a foreign library's, for as long as its model runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from .adapter import ForeignMixer


@contextmanager
def substituted(mixers: Sequence[ForeignMixer], running: list[ForeignMixer]) -> Iterator[None]:
    """Replace the functions and methods that the adapters of `mixers` name. running: the mixers that run, the innermost last."""
    functions: dict[tuple[Any, str], Any] = {}
    methods: list[tuple[nn.Module, str]] = []
    running.clear()
    try:
        for mixer in mixers:
            namespace = sys.modules[type(mixer.module).__module__]
            for name in mixer.adapter.functions:
                if hasattr(namespace, name) and (namespace, name) not in functions:
                    functions[namespace, name] = getattr(namespace, name)
                    setattr(namespace, name, partial(_dispatch, running, name))
            for name, runner in mixer.adapter.methods.items():
                methods.append((mixer.module, name))
                object.__setattr__(mixer.module, name, partial(runner, mixer))
        yield
    finally:
        for (owner, name), original in functions.items():
            setattr(owner, name, original)
        for module, name in methods:
            object.__delattr__(module, name)


def _dispatch(running: Sequence[ForeignMixer], name: str, *args: Any, **kwargs: Any) -> Any:
    """What the running mixer's adapter puts in the place of a function of its library."""
    mixer = running[-1]
    return mixer.adapter.functions[name](mixer, *args, **kwargs)


def enter(running: list[ForeignMixer], mixer: ForeignMixer, module: nn.Module, args: Any) -> None:
    """Note that a mixer begins to run: a forward pre-hook of its module, but for the first two arguments."""
    running.append(mixer)


def leave(running: list[ForeignMixer], module: nn.Module, args: Any, out: Any) -> None:
    """Note that the innermost mixer has run: a forward hook of its module, but for the first argument."""
    running.pop()


@contextmanager
def watching(mixers: Sequence[ForeignMixer], running: list[ForeignMixer]) -> Iterator[None]:
    """Keep `running` while modules run whose mixers have no hooks of their own."""
    with ExitStack() as handles:
        for mixer in mixers:
            handles.callback(mixer.module.register_forward_pre_hook(partial(enter, running, mixer)).remove)
            handles.callback(mixer.module.register_forward_hook(partial(leave, running)).remove)
        yield
