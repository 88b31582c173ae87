"""Text in and out of models: the checkpoint's tokenizer, under transformer-lens's names."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import FOREIGN, OF_SOFTMAX
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from statescope import Edit, Model, ModelConfig, load
from statescope.probe.loaders import UnreadableCheckpointError
from statescope.probe.models.text import NoTokenizerError, TokenError

WORDS = ["<pad>", "<s>", "</s>", "the", "cat", "sat", "on", "a", "mat", "dog", "ran", "."]
STATE = "blocks.0.attn.hook_state"


def write_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    """Words to their places in the list, `<s>` first."""
    backend = Backend(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<pad>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": {"content": "<s>", "special": True}, "pad_token": "<pad>", "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))


@pytest.fixture(params=["mamba", "qwen3_next", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (FOREIGN | OF_SOFTMAX)[request.param]().save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Any:
    return load(folder)


def test_the_tokenizer_comes_with_the_checkpoint(model: Any) -> None:
    assert model.to_tokens("the cat sat").tolist() == [[1, 3, 4, 5]]
    assert model.to_tokens("the cat sat", prepend_bos=False).tolist() == [[3, 4, 5]]
    assert model.to_tokens("the cat", prepend_bos=True).tolist() == [[1, 3, 4]]
    assert model.to_tokens(["the cat sat on", "a dog"]).tolist() == [[1, 3, 4, 5, 6], [1, 7, 9, 0, 0]]
    assert model.to_str_tokens("the cat sat") == ["<s>", "the", "cat", "sat"]
    assert model.to_str_tokens(torch.tensor([3, 9])) == model.to_str_tokens(torch.tensor([[3, 9]])) == ["the", "dog"]
    assert model.to_string(torch.tensor([3, 4])) == "the cat" and model.to_string([4]) == "cat"
    assert model.to_string(torch.tensor([[3, 4], [7, 9]])) == ["the cat", "a dog"]
    assert model.to_single_token("mat") == 8
    with pytest.raises(TokenError, match=r"'the cat' is 2 tokens: \['the', 'cat'\]"):
        model.to_single_token("the cat")


def test_prompts_as_text_are_prompts_as_tokens(model: Any) -> None:
    text, tokens = "the dog ran on the mat .", torch.tensor([[1, 3, 9, 10, 6, 3, 8, 11]])
    with torch.no_grad():
        plain = model(tokens)
        assert torch.equal(model(text), plain)
        assert torch.equal(model(text, return_type="loss"), model(tokens, return_type="loss"))
        _, cache = model.run_with_cache(text, names_filter="*.hook_resid_post", positions="last")
        _, wanted = model.run_with_cache(tokens, names_filter="*.hook_resid_post", positions="last")
        assert torch.equal(cache["resid_post", 1], wanted["resid_post", 1])
        zero = ("blocks.0.hook_resid_post", lambda value, hook: 0 * value)
        assert torch.equal(model.run_with_hooks(text, fwd_hooks=[zero]), model.run_with_hooks(tokens, fwd_hooks=[zero]))
        if model.has_state(0):
            edits = {STATE: [Edit(2, "scale", torch.tensor(0.0))]}
            assert torch.equal(model.run_with_edits(text, edits), model.run_with_edits(tokens, edits))
        made = model.generate(text, 3)
        assert made.shape == (1, 11) and torch.equal(made[:, :8], tokens)
        assert torch.equal(made[:, 8:9], plain[:, -1:].argmax(-1))
        assert torch.equal(made, model.generate(tokens, 3)) and model.to_string(made)[0].startswith("<s> the dog")


def test_texts_of_different_lengths_are_masked(model: Any) -> None:
    with torch.no_grad():
        both = model(["the cat sat on a mat", "a dog"])
        torch.testing.assert_close(both[0], model("the cat sat on a mat")[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both[1, :3], model("a dog")[0], rtol=1e-4, atol=1e-5)
        _, cache = model.run_with_cache(["the cat sat on a mat", "a dog"], names_filter="*.hook_resid_post", positions="last")
        _, alone = model.run_with_cache("a dog", names_filter="*.hook_resid_post", positions="last")
        torch.testing.assert_close(cache["resid_post", 1][1], alone["resid_post", 1][0], rtol=1e-4, atol=1e-5)
    with pytest.raises(TokenError, match=r"the texts have \[7, 3\] tokens"):
        model.generate(["the cat sat on a mat", "a dog"], 1)


def test_generation_goes_on_from_an_edited_state() -> None:
    model: Any = load(FOREIGN["mamba"]())
    tokens, edits = (
        torch.randint(3, 31, (2, 6)),
        {STATE: [Edit(3, "scale", torch.tensor(0.0)), Edit(7, "scale", torch.tensor(0.0))]},
    )
    made = model.generate(tokens, 4, edits=edits)
    with torch.no_grad():
        for length in (6, 9):
            own = {STATE: [edit for edit in edits[STATE] if edit.position < length]}
            assert torch.equal(model(made[:, :length], edits=own)[:, -1].argmax(-1), made[:, length])
    drawn = [model.generate(tokens, 4, temperature=1.0, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_without_a_tokenizer_the_error_says_the_fix(tmp_path: Path) -> None:
    ours: Any = Model(ModelConfig(vocabulary=31, width=8))
    theirs: Any = load(FOREIGN["mamba"]())
    write_tokenizer(tmp_path)
    for model in (ours, theirs):
        for use in (model, model.to_tokens, model.run_with_cache, lambda text, own=model: own.generate(text, 2)):
            with pytest.raises(NoTokenizerError, match=r"give token ids .* or call model.read_tokenizer\(FOLDER\)"):
                use("the cat")
        model.read_tokenizer(tmp_path)
        assert torch.equal(model("the cat"), model(torch.tensor([[1, 3, 4]])))
        assert copy.deepcopy(model).to_tokens("the cat").tolist() == [[1, 3, 4]]
    assert torch.equal(ours.tokens_to_residual_directions("cat"), ours.tokens_to_residual_directions(4))
    assert ours.generate("the cat", 2).shape == (1, 5)


def test_what_a_model_cannot_read_is_refused(folder: Path, tmp_path: Path) -> None:
    model: Any = load(folder)
    with pytest.raises(TypeError, match="a prompt is a text, a list of texts, or a tensor"):
        model([[1, 2, 3]])
    with pytest.raises(TokenError, match="attention_mask is for token ids"):
        model("the cat", attention_mask=torch.ones(1, 3))
    with pytest.raises(TokenError, match="'' has no tokens"):
        model.to_tokens("", prepend_bos=False)
    write_tokenizer(folder, [*WORDS, *map(str, range(50))])
    with pytest.raises(TokenError, match="'49' has id 61, and the model embeds 31 tokens"):
        load(folder)("the 49")
    for broken, match in ((b"{", "is no tokenizer"), (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS")):
        (folder / "tokenizer.json").write_bytes(broken)
        with pytest.raises(UnreadableCheckpointError, match=match):
            load(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(Path(__file__))
    with pytest.raises(UnreadableCheckpointError, match="is a link to"):
        load(folder)


def test_a_bridge_brings_its_tokenizer(tmp_path: Path) -> None:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import PreTrainedTokenizerFast

    write_tokenizer(tmp_path)
    foreign = FOREIGN["mamba"]()
    bridge = build_bridge_from_module(foreign, type(foreign).__name__, hf_config=foreign.config)
    assert load(bridge).tokenizer is None
    bridge.tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), bos_token="<s>", pad_token="<pad>"
    )
    model: Any = load(bridge)
    assert model.to_tokens("the cat").tolist() == [[1, 3, 4]] and model.to_tokens("cat", prepend_bos=True).tolist() == [[1, 4]]
