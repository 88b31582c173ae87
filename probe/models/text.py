"""Text for models that have a tokenizer, under transformer-lens's names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from tokenizers import Tokenizer as Backend
from torch import Tensor

from ...kernels.arguments import can_read_values
from ..checkpoint_folder import UnreadableCheckpointError, checked_file, has_file, read_object
from ..errors import StatescopeError

Text = str | Sequence[str]
Prompt = Tensor | str | Sequence[str]
TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"


class NoTokenizerError(StatescopeError, ValueError):
    """Text was given to a model without a tokenizer."""


class TokenError(StatescopeError, ValueError):
    """Text that the model cannot read as it was asked to."""


def check_ids(tokens: Tensor, vocabulary: int) -> None:
    """Raise ValueError unless tokens are ids [B, T] of a vocabulary of this size."""
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.is_complex():
        raise ValueError(f"tokens must be whole numbers [batch, position], got {tuple(tokens.shape)} {tokens.dtype}")
    if tokens.numel() and can_read_values(tokens) and (int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary):
        raise ValueError(f"tokens range over [{int(tokens.min())}, {int(tokens.max())}]; the vocabulary is [0, {vocabulary - 1}]")


class Tokenizer:
    """A tokenizer of the `tokenizers` library: text to ids and back.

    backend: the library's own object. bos, pad: ids of the tokens that begin a text and fill up a batch, or None.
    """

    def __init__(self, backend: Backend, *, bos: str | None = None, pad: str | None = None) -> None:
        self.backend = backend
        self.bos = None if bos is None else backend.token_to_id(bos)
        self.pad = None if pad is None else backend.token_to_id(pad)

    @classmethod
    def read(cls, folder: str | Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint's folder.

        tokenizer.json holds it, and tokenizer_config.json says which tokens begin texts and fill batches. No code of the folder's
        is run. Raises UnreadableCheckpointError for a file that is missing or cannot be read.
        """
        folder = Path(folder).expanduser()
        file = checked_file(folder, TOKENIZER)
        try:
            backend = Backend.from_file(str(file))
        except Exception as error:  # the library raises no class of its own
            raise UnreadableCheckpointError(f"{folder / TOKENIZER} is no tokenizer that can be read: {error}") from error
        settings = read_object(folder, SETTINGS) if has_file(folder, SETTINGS) else {}
        return cls(backend, bos=_content(settings.get("bos_token")), pad=_content(settings.get("pad_token")))

    def encode(self, text: str, prepend_bos: bool | None = None) -> list[int]:
        """The ids of a text. prepend_bos: None as the checkpoint does it, else with or without the token that begins a text."""
        if prepend_bos is None:
            return list(self.backend.encode(text).ids)
        ids = list(self.backend.encode(text, add_special_tokens=False).ids)
        if prepend_bos and self.bos is None:
            raise TokenError("prepend_bos=True, but this tokenizer names no token that begins a text (bos_token)")
        return [self.bos, *ids] if prepend_bos and self.bos is not None else ids

    def encode_words(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """The ids of a text that is given word by word, and where among them each word ends.

        The words are joined by spaces, since a tokenizer may write a word after a space otherwise than by itself. Raises
        TokenError for a word that no token ends in.
        """
        encoded = self.backend.encode(" ".join(words))
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        word_of = np.searchsorted(ends, [end for _, end in encoded.offsets])
        last = {int(word): at for at, word in enumerate(word_of) if encoded.offsets[at][1] > 0}
        lost = next((word for number, word in enumerate(words) if number not in last), None)
        if lost is not None:
            raise TokenError(f"the tokenizer has no token that ends in the word {lost!r}; give its table a row a token instead")
        return list(encoded.ids), [last[number] for number in range(len(words))]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(list(ids), skip_special_tokens=False))


def _content(token: Any) -> str | None:
    """A special token, which the settings give as text or as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


class ReadsText:
    """Base of models that read text where they have a tokenizer, of their checkpoint or by `read_tokenizer`."""

    tokenizer: Tokenizer | None = None
    cfg: Any

    def read_tokenizer(self, folder: str | Path) -> Tokenizer:
        """Take the tokenizer of a folder with tokenizer.json; see `Tokenizer.read`."""
        self.tokenizer = Tokenizer.read(folder)
        return self.tokenizer

    def own_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise NoTokenizerError(
                "this model has no tokenizer to read or write text with: give token ids [batch, position], or call "
                "model.read_tokenizer(FOLDER) with a folder that has tokenizer.json"
            )
        return self.tokenizer

    def as_tokens(self, prompt: Prompt, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Token ids and mask of a prompt that may be text, on the model's device; texts of different lengths are padded on the
        right, and masked.
        """
        if isinstance(prompt, Tensor):
            device = self._device()
            return prompt.to(device), None if attention_mask is None else attention_mask.to(device)
        if attention_mask is not None:
            raise TokenError("attention_mask is for token ids; of texts of different lengths it is made here")
        rows = self._encoded(prompt, None)
        lengths = torch.tensor([len(row) for row in rows])
        tokens = self._padded(rows)
        if bool((lengths == lengths[0]).all()):
            return tokens, None
        return tokens, (torch.arange(tokens.shape[1]) < lengths[:, None]).long().to(tokens.device)

    def as_prompt(self, prompt: Prompt) -> Tensor:
        """Token ids to generate behind, of a prompt that may be text. Raises TokenError for texts of different lengths."""
        tokens, attention_mask = self.as_tokens(prompt)
        if attention_mask is not None:
            raise TokenError(
                f"the texts have {attention_mask.sum(1).tolist()} tokens; generate behind those of one length together"
            )
        return tokens

    def to_tokens(self, text: Text, prepend_bos: bool | None = None) -> Tensor:
        """Token ids [B, T] of a text or several; shorter ones are padded on the right.

        prepend_bos: whether the token that begins a text is put first; None does as the checkpoint's tokenizer does.

        Raises NoTokenizerError without a tokenizer, TokenError for an empty text or ids that the model has no embedding of.
        """
        return self._padded(self._encoded(text, prepend_bos))

    def _encoded(self, text: Text, prepend_bos: bool | None) -> list[list[int]]:
        tokenizer, texts = self.own_tokenizer(), [text] if isinstance(text, str) else list(text)
        if not texts or not all(isinstance(item, str) for item in texts):
            raise TypeError("a prompt is a text, a list of texts, or a tensor of token ids [batch, position]")
        rows = [tokenizer.encode(item, prepend_bos) for item in texts]
        for item, row in zip(texts, rows, strict=True):
            if not row:
                raise TokenError(f"{item!r} has no tokens")
            if max(row) >= self.cfg.d_vocab:
                raise TokenError(
                    f"{tokenizer.decode([max(row)])!r} has id {max(row)}, and the model embeds {self.cfg.d_vocab} tokens: the "
                    "tokenizer is of another checkpoint"
                )
        return rows

    def _padded(self, rows: list[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        pad = self.own_tokenizer().pad or 0
        return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=self._device())

    def _device(self) -> torch.device:
        device: torch.device = next(self.parameters()).device  # type: ignore[attr-defined]
        return device

    @overload
    def to_string(self, tokens: int | Sequence[int]) -> str: ...
    @overload
    def to_string(self, tokens: Tensor) -> str | list[str]: ...
    def to_string(self, tokens: int | Sequence[int] | Tensor) -> str | list[str]:
        """The text of token ids [T]; a list of texts of [B, T]."""
        tokenizer, ids = self.own_tokenizer(), torch.as_tensor(tokens)
        if ids.ndim == 2:
            return [tokenizer.decode(row) for row in ids.tolist()]
        return tokenizer.decode(ids.reshape(-1).tolist())

    def to_str_tokens(self, prompt: str | Tensor, prepend_bos: bool | None = None) -> list[str]:
        """The text of each token of one prompt, text or ids [T] or [1, T]: what labels positions in a figure."""
        ids = self._encoded(prompt, prepend_bos)[0] if isinstance(prompt, str) else torch.as_tensor(prompt).tolist()
        if ids and isinstance(ids[0], list):
            if len(ids) != 1:
                raise TokenError(f"to_str_tokens takes one prompt, got {len(ids)}")
            ids = ids[0]
        return self.texts_of(ids)

    def texts_of(self, tokens: Sequence[int]) -> list[str]:
        """The text of each token id."""
        return [self.own_tokenizer().decode([token]) for token in tokens]

    def to_single_token(self, text: str) -> int:
        """The id of a text that is one token. Raises TokenError with the tokens it is, where they are several."""
        ids = self._encoded(text, False)[0]
        if len(ids) != 1:
            raise TokenError(f"{text!r} is {len(ids)} tokens: {self.to_str_tokens(text, False)}")
        return ids[0]
