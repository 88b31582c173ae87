"""Any torch module with our hooks: the tensors of its submodules by their names, and the states of its recurrences by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ....kernels.recurrence import Edit, Tap, TapRequest
from ...errors import UnknownNameError, unknown_name
from ...hooks.names import hook_name
from ...hooks.points import Point
from ...mixers.base import Mixer, StateRequest
from ...models.hooked import HookedModel, next_token_loss
from ...models.text import Prompt
from ..adapter import ForeignMixer
from ..foreign import recurrent_mixers
from ..substitution import substituted, watching
from ..torch_modules import in_torch
from .dry_run import Dry, Run, Side, evaluating
from .example import NotHookableError, example_of, vocabulary_of
from .looped import LoopedCell, looped_cell
from .tensors import entering, leaving, with_entering, with_leaving
from .torch_cells import TorchCell, cells_of, run_cells, steps_of, why_unreached

AGREES = 1e-3  # relative: how far our cells may be from torch's by rounding
Recurrent = TorchCell | LoopedCell | ForeignMixer


class HookedModule(HookedModel):
    """A torch module whose hooks go by the names of its submodules: `encoder.rnn.hook_in` and `encoder.rnn.hook_out`.

    hook_in shows the first tensor that enters a submodule, hook_out the first that leaves it, with sequences on the first axis
    whichever way round the module keeps them; the bare names are those of the module itself. A submodule that is called several
    times in a run has a hook a call, `shared.hook_out.0`, `shared.hook_out.1`. One that is called once a position, as a cell in a
    loop is, has one hook, which fires at each position with a position axis of one (`hook.ctx["position"]` says which); caches
    hold all its positions side by side.

    The recurrences in it are its layers, in the order in which they run: each layer and direction of an `nn.LSTM`, `nn.GRU` or
    `nn.RNN`; a cell that the module's own code calls once a position; a mixer of transformers or flash-linear-attention that
    `load` knows. `blocks.{layer}.attn.hook_state` and its kin are theirs, with taps and edits. `recurrences` says which is which.

    Positions are on the second axis of what the module takes. One that takes inputs of one shape alone, such as images, has those
    of its recurrences.

    Hooks hang on the module only while this model runs: its own calls, before and after, are as they were, and so is its training
    mode. Where no hook function and no edit asks, its own code runs alone. Names begin with "module." where a child of the module
    is itself called "blocks".

    run: what `hooked` was given. refused: why a tensor of a submodule, or the states of a recurrence, have no hook.
    """

    undivided = "a module's norms and unembedding are its own code's; decompose what its hooks show with those"

    def __init__(self, module: nn.Module, example: Tensor, run: Run) -> None:
        super().__init__()
        self.module, self.run = module, run
        blocks = any(name == "blocks" for name, _ in module.named_children())
        self.prefix = "module." if blocks else ""
        self.running: list[ForeignMixer] = []
        self.foreign: list[ForeignMixer] = recurrent_mixers(module)
        dry = self._dry(example)
        self.steps: int | None = None  # of its recurrences, where it takes inputs of one shape alone
        found, self.refused = dry.sites(self.prefix)
        self.sites = {site.name: site for site in found}
        self.by_call = {(site.module, site.side, site.call): site for site in found}
        self.cells: dict[str, list[TorchCell]] = {}
        self.looped: dict[str, LoopedCell] = {}
        self.recurrences: list[str] = []
        self.paths: list[str] = []  # of the submodules that the layers run in
        mixers = self._recurrences(dry)
        if dry.one_length and self.cells:
            lengths = {steps_of(dry, path, module.get_submodule(path)) for path in self.cells}
            if len(lengths) > 1:
                raise NotHookableError(
                    f"the recurrences of {type(module).__name__} run over {sorted(lengths)} positions, of which there is to be "
                    "one number; hook the parts one by one"
                )
            self.steps = lengths.pop()
        self.layers = len(mixers)
        self.recurrent = nn.ModuleList(mixers)
        self.hook_of_site = {site.name: HookPoint() for site in found}
        self.sizes = {axis: int(axis) for site in found for axis in site.axes if axis.isdigit()}
        self.cfg = SimpleNamespace(n_layers=self.layers, d_model=None, d_vocab=vocabulary_of(module), n_heads=1, device=None)
        self.setup_hooks()
        self._check_cells(example)

    def _dry(self, example: Tensor) -> Dry:
        try:
            with substituted(self.foreign, self.running), in_torch(self.module), watching(self.foreign, self.running):
                return Dry.of(self.module, self.run, example)
        except Exception as error:
            raise NotHookableError(
                f"{type(self.module).__name__} does not run on the example {tuple(example.shape)} {example.dtype}: {error}. "
                "Give an example that it takes, or run=lambda module, tokens: ... that calls it as it is to be called"
            ) from error

    def _recurrences(self, dry: Dry) -> list[Mixer]:
        """The layers, in the order in which the module runs them."""
        foreign = {id(mixer.module): mixer for mixer in self.foreign if mixer.ran}
        mixers: list[Mixer] = []
        for path in dry.base.inputs:
            own = self.module.get_submodule(path)
            cells, cell = cells_of(own), looped_cell(dry, path, own)
            cells = (why_unreached(dry, path, own) or cells) if cells else cells
            if isinstance(cells, str):
                self.refused[f"{self.prefix}{path}.hook_state".removeprefix(".")] = cells
            elif cells:
                self.cells[path] = cells
                mixers += cells
                self.recurrences += [f"{path}.{one.suffix}".removeprefix(".") for one in cells]
                self.paths += [path] * len(cells)
            elif cell is not None:
                self.looped[path] = cell
                mixers.append(cell)
                self.recurrences.append(path)
                self.paths.append(path)
            elif id(own) in foreign:
                mixers.append(foreign[id(own)])
                self.recurrences.append(path)
                self.paths.append(path)
        self.foreign = [mixer for mixer in self.foreign if mixer.ran]
        return mixers

    @torch.no_grad()
    def _check_cells(self, example: Tensor) -> None:
        """Our cells give what torch's do, over one sequence of the example's length; else they have no hooks."""
        if not self.cells:
            return
        with evaluating(self.module):
            plain = self(example)
            layers = [layer for layer, mixer in enumerate(self.recurrent) if isinstance(mixer, TorchCell)]
            names = [hook_name(layer, "attn.hook_recurrence_out") for layer in layers]
            shown = self.run_with_hooks(example, fwd_hooks=[(name, lambda value, hook: None) for name in names])
        if not torch.allclose(plain, shown, rtol=AGREES, atol=AGREES * float(plain.abs().max())):
            raise NotHookableError(
                f"with our cells {type(self.module).__name__} gives another output than with torch's, by "
                f"{float((plain - shown).abs().max()):.1e}; is its forward deterministic in evaluation mode?"
            )

    def setup(self) -> None:
        """Name the hook points. The module's own tree is left out: its names could be those of our methods."""
        points: dict[str, HookPoint] = dict(self.hook_of_site)
        for layer, mixer in enumerate(self._mixers):
            for point in mixer.points:
                points[hook_name(layer, point.name)] = getattr(mixer, point.name.removeprefix("attn."))
        self.mod_dict: dict[str, nn.Module] = dict(points)
        self.hook_dict = points
        for name, hook in points.items():
            hook.name = name

    def setup_hooks(self) -> None:
        self.setup()
        self.points = {}
        for name, site in self.sites.items():
            which = "" if site.call is None else f", call {site.call} of a run"
            what = f"first tensor that {'enters' if site.side == 'in' else 'leaves'} {site.module}{which}"
            firing = "steps" if site.steps else "always"
            self.points[name] = Point(name, " ".join(site.axes), what, "write", firing, site.is_complex)  # type: ignore[arg-type]
        for layer, mixer in enumerate(self._mixers):
            self.points |= {hook_name(layer, point.name): point for point in mixer.points}
        for name, hook in self.hook_dict.items():
            hook.pos_dim = self.points[name].position_axis

    @property
    def _mixers(self) -> list[Any]:
        return list(self.recurrent)

    def __repr__(self) -> str:
        layers = "; ".join(f"blocks.{layer} is {name}" for layer, name in enumerate(self.recurrences)) or "no recurrence"
        return f"HookedModule({type(self.module).__name__}: {len(self.hook_dict)} hooks; {layers})"

    def length_of(self, tokens: Tensor) -> int:
        """The size of the second axis, or the positions of its recurrences where it takes inputs of one shape alone."""
        return tokens.shape[1] if self.steps is None else self.steps

    def mixer(self, layer: int) -> Mixer:
        """The recurrence of a layer."""
        if not self.layers:
            raise ValueError(f"{type(self.module).__name__} has no recurrence whose states are reached")
        found: Mixer = self.recurrent[layer]  # type: ignore[assignment]
        return found

    def axis_sizes(self, layer: int | None) -> dict[str, int]:
        return self.sizes if layer is None else self.mixer(layer).axis_sizes

    def unknown_hook(self, name: str) -> UnknownNameError:
        """The error for a hook this model lacks, with the reason where one is known."""
        if name in self.refused:
            return UnknownNameError(f"{name}: {self.refused[name]}")
        several = [own for own in self.sites if own.startswith(f"{name}.")]
        if several:
            return UnknownNameError(f"{name} is called {len(several)} times in a run; name the call: {', '.join(several)}")
        return super().unknown_hook(name)

    def forward(
        self,
        tokens: Prompt,
        return_type: str | None = "logits",
        *,
        taps: TapRequest | None = None,
        edits: Mapping[str, Sequence[Edit]] | None = None,
    ) -> Any:
        """Run the module on what the example was like: [B, T] token ids, or real numbers [B, T, ...].

        return_type: "logits" is the module's output, "loss" (of token ids and outputs [B, T, vocabulary]) the mean next-token
        cross-entropy in nats; "both", or None. taps, edits: of the states of its recurrences.

        Raises ValueError for a hook function that cannot fire, RuntimeError where the module's code takes another way than in its
        first run, so that a hook function was not called or an edit not made.
        """
        if return_type not in ("logits", "loss", "both", None):
            raise unknown_name("return_type", str(return_type), ("logits", "loss", "both"))
        tokens, mask = self.as_tokens(tokens)
        if mask is not None:
            raise ValueError("texts of different lengths are padded, and a module is not told of padding; run them one by one")
        length = self.length_of(tokens)
        self.check_hooks(self.extent(taps))
        requests = self._requests(length, taps, edits, None)
        with ExitStack() as stack:
            counts = self._prepare(stack, requests, () if taps is None else Tap.of(taps).resolve(length))
            ran = self._noting_recurrences(stack, requests)
            given = self.run(self.module, tokens)
            for cell in self.looped.values():
                cell.end()
        self._check_called(counts, length)
        self._check_ran(ran)
        out = leaving(given)
        if out is None:
            raise NotHookableError(
                f"{type(self.module).__name__} gives {type(given).__name__}, which begins with no tensor; give "
                "run=lambda module, tokens: ... that returns the one to look at"
            )
        if return_type in ("loss", "both"):
            if tokens.is_floating_point() or out.ndim != 3:
                raise ValueError("a next-token loss is of token ids and outputs [batch, position, vocabulary]; take the output")
            loss = next_token_loss(out, tokens)
            return loss if return_type == "loss" else (out, loss)
        return out if return_type else None

    def _prepare(self, stack: ExitStack, requests: Sequence[StateRequest], taps: Sequence[int]) -> Counter[tuple[str, Side]]:
        """Put on the module what this run asks for. Counts calls by module and side."""
        counts: Counter[tuple[str, Side]] = Counter()
        for mixer, request in zip(self._mixers, requests, strict=True):
            if isinstance(mixer, LoopedCell):
                mixer.begin(request, taps)
            else:
                mixer.request = request
        for path, cells in self.cells.items():
            if any(cell.request.edits or _has_hooks(cell) for cell in cells):
                own = self.module.get_submodule(path)
                object.__setattr__(own, "forward", partial(run_cells, cells))
                stack.callback(object.__delattr__, own, "forward")
        stack.enter_context(substituted(self.foreign, self.running))
        stack.enter_context(in_torch(self.module))
        stack.enter_context(watching(self.foreign, self.running))
        for path, cell in self.looped.items():
            if cell.asked:
                own = self.module.get_submodule(path)
                stack.callback(own.register_forward_hook(lambda _, args, out, cell=cell: cell.after(out)).remove)
        for path, side in self._watched():
            own = self.module.get_submodule(path)
            if side == "in":
                before = partial(self._entering, counts, path)
                stack.callback(own.register_forward_pre_hook(before, with_kwargs=True).remove)
            else:
                stack.callback(own.register_forward_hook(partial(self._leaving, counts, path)).remove)
        return counts

    def _noting_recurrences(self, stack: ExitStack, requests: Sequence[StateRequest]) -> Counter[str]:
        """Count the calls of the submodules whose recurrences something is asked of, by name; 0 of those that have not run."""
        ran: Counter[str] = Counter()
        for path, mixer, request in zip(self.paths, self._mixers, requests, strict=True):
            if path not in ran and (request.edits or _has_hooks(mixer)):
                ran[path] = 0
                note = partial(_count, ran, path)
                stack.callback(self.module.get_submodule(path).register_forward_hook(note).remove)
        return ran

    def _check_ran(self, ran: Counter[str]) -> None:
        """Raise RuntimeError where a recurrence that something was asked of has not run."""
        for path, calls in ran.items():
            if not calls:
                raise RuntimeError(
                    f"{path or type(self.module).__name__} was not called in this run, so that hook functions and edits of its "
                    "states had no effect. Hook the module again with an example that takes this way"
                )

    def _watched(self) -> dict[tuple[str, Side], None]:
        """The tensors of modules that hook functions look at."""
        return {(site.module, site.side): None for name, site in self.sites.items() if self.hook_dict[name].has_hooks()}

    def _entering(self, counts: Counter[Any], path: str, own: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = entering(args, kwargs)
        shown = self._fired(counts, path, "in", tensor)
        return None if shown is tensor or shown is None else with_entering(args, kwargs, shown)

    def _leaving(self, counts: Counter[Any], path: str, own: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        tensor = leaving(out)
        shown = self._fired(counts, path, "out", tensor)
        return None if shown is tensor or shown is None else with_leaving(out, shown)

    def _fired(self, counts: Counter[Any], path: str, side: Side, tensor: Tensor | None) -> Tensor | None:
        """The tensor of a call, as hook functions leave it."""
        call = counts[path, side]
        counts[path, side] += 1
        site = self.by_call.get((path, side, call)) or self.by_call.get((path, side, None))
        if site is None or tensor is None or (site.call is None and not site.steps and call):
            return tensor
        point = self.hook_dict[site.name]
        if not point.has_hooks():
            return tensor
        value = tensor.movedim(site.batch_axis, 0)
        value = value.clone() if site.overwritten else value
        if site.steps:
            value, point.ctx["position"] = value[:, None], call
        shown: Tensor = point(value)
        if shown.shape != value.shape:
            raise ValueError(f"a hook function returned {tuple(shown.shape)} for {site.name}, which is {tuple(value.shape)}")
        if shown is value and not site.overwritten:
            return tensor
        back = shown[:, 0] if site.steps else shown
        back = back.clone() if site.overwritten else back
        return back.movedim(0, site.batch_axis)

    def _check_called(self, counts: Counter[tuple[str, Side]], length: int) -> None:
        """Raise RuntimeError where a module that is looked at was called more or less often than its hooks say."""
        for path, side in self._watched():
            own = [site for site in self.sites.values() if (site.module, site.side) == (path, side)]
            expected = length if own[0].steps else max(site.call or 0 for site in own) + 1
            if counts[path, side] != expected:
                raise RuntimeError(
                    f"{path} was called {counts[path, side]} times in this run; its hooks are for {expected}, which the example "
                    "showed. Hook the module again with an example that takes this way"
                )


def hooked(module: nn.Module, example: Any = None, *, run: Run | None = None) -> HookedModule:
    """Hooks by module name on any torch module, so that caches, captures, probes, taps, edits and analyses run on it.

    example: what the module takes, of two positions at least: token ids [B, T] or real numbers [B, T, ...]; positions are on the
        second axis. Three short runs on it find which modules are called, how often, and the axes of their tensors. A
        transformers model needs none.
    run: how the module is called, `run(module, tokens)`, for one that takes more than the tokens, or gives its output by a name;
        None calls module(tokens).

    Its parameters are the module's own, and nothing of the module is changed. Raises NotHookableError for a compiled or scripted
    module, for no example, and where the module does not run on it.
    """
    if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
        raise NotHookableError(
            f"{type(module).__name__} is compiled, and its modules are no longer called one by one; hook what it was made from"
        )
    if not isinstance(module, nn.Module):
        raise NotHookableError(f"hooked takes a torch.nn.Module, got {type(module).__name__}")
    example = example_of(module) if example is None else torch.as_tensor(example)
    if example.ndim < 2 or not len(example) or (example.ndim < 4 and example.shape[1] < 2):
        raise NotHookableError(
            f"the example has shape {tuple(example.shape)}; give sequences [batch, position, ...] of two positions at least"
        )
    device = next((parameter.device for parameter in module.parameters()), example.device)
    return HookedModule(module, example.to(device), _call if run is None else run)


def _call(module: nn.Module, tokens: Tensor) -> Any:
    return module(tokens)


def _has_hooks(mixer: Any) -> bool:
    return any(getattr(mixer, point.name.removeprefix("attn.")).has_hooks() for point in mixer.points)


def _count(ran: Counter[str], path: str, *_: Any) -> None:
    ran[path] += 1
