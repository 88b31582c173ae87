"""Reviews from templates: what is said of a thing decides a verdict some words later, whatever the thing is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator

from .base import Batch, Drawing, Split, Task, check_request
from .sentiment import BAD, GOOD, OPENINGS, TOPICS

LIKED, DISLIKED = ("loved", "enjoyed", "praised"), ("hated", "loathed", "panned")
LINKS = ("so", "and")


@dataclass(frozen=True)
class Reviews(Task, kind="reviews"):
    """Sentences such as "the film was awful , so i hated it ."; the target is the next word. Sentiment and topic of each sentence
    are drawn independently, and the verdict follows the sentiment alone.

    Labels after each word: "sentiment" (0 none yet, 1 bad, 2 good) and "topic" (0 none yet, 1 .. 3) of the sentence so far;
    "before_verdict" and "delimiter", 1 where the next word is the verdict and where the word is a comma.
    """

    label_names = ("sentiment", "topic", "before_verdict", "delimiter")

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the vocabulary, in the order of their tokens."""
        fixed = {word for opening in OPENINGS for word in opening if "{" not in word}
        nouns = {noun for group in TOPICS.values() for noun in group}
        return tuple(sorted(fixed | nouns | {*GOOD, *BAD, *LIKED, *DISLIKED, *LINKS, ",", "i", "it", "."}))

    @property
    def vocabulary(self) -> int:
        return len(self.words)

    def tokens_of(self, words: tuple[str, ...]) -> list[int]:
        """The tokens of some words."""
        return [self.words.index(word) for word in words]

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        check_request(size, length)
        drawing, index = Drawing(size, split), {word: i for i, word in enumerate(self.words)}
        while drawing.missing:
            rows = [self._sentence(generator) for _ in range(length // 9 + 2)]
            text = [(index[word], *facts) for row in rows for word, *facts in row][: length + 1]
            drawing.offer(torch.tensor(text).T[None], by=torch.tensor(text)[None, :, 0])
        tokens, sentiment, topic, before, delimiter = drawing.rows.unbind(1)
        named = {"sentiment": sentiment, "topic": topic, "before_verdict": before, "delimiter": delimiter}
        return Batch(tokens[:, :-1], tokens[:, 1:], {name: value[:, :-1] for name, value in named.items()})

    def _sentence(self, generator: Generator) -> list[tuple[str, int, int, int, int]]:
        """The words of one review, each with its labels."""
        pick = torch.rand(7, generator=generator).tolist()
        good, topic = int(pick[0] * 2), int(pick[1] * len(TOPICS))
        nouns = list(TOPICS.values())[topic]
        filled = {
            "{noun}": nouns[int(pick[2] * len(nouns))],
            "{adjective}": (GOOD if good else BAD)[int(pick[3] * len(GOOD))],
        }
        verdict = (LIKED if good else DISLIKED)[int(pick[4] * len(LIKED))]
        parts = (*OPENINGS[int(pick[5] * len(OPENINGS))], ",", LINKS[int(pick[6] * len(LINKS))], "i", verdict, "it", ".")
        found, said_sentiment, said_topic = [], 0, 0
        for part in parts:
            said_sentiment = 1 + good if part == "{adjective}" else said_sentiment
            said_topic = 1 + topic if part == "{noun}" else said_topic
            found.append((filled.get(part, part), said_sentiment, said_topic, int(part == "i"), int(part == ",")))
        return found
