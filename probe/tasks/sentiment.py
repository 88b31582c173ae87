"""Sentences from templates with two factors, sentiment and topic, that are drawn independently: which is which is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator

from .base import Batch, Drawing, Split, Task, check_request

TOPICS = {
    "film": ("film", "actor", "scene", "plot"),
    "food": ("meal", "soup", "waiter", "dessert"),
    "book": ("novel", "author", "chapter", "prose"),
}
GOOD = ("wonderful", "lovely", "brilliant", "charming", "superb", "great")
BAD = ("awful", "boring", "terrible", "clumsy", "dreadful", "bad")
OPENINGS = (("the", "{noun}", "was", "{adjective}"), ("a", "{adjective}", "{noun}"), ("what", "a", "{adjective}", "{noun}"))
JOINS = (",", "and", ".")


@dataclass(frozen=True)
class Sentiment(Task, kind="sentiment"):
    """Clauses of one sentiment and one topic each, joined; the target is the next word. Labels after each word: "sentiment" (0
    none yet, 1 bad, 2 good) and "topic" (0 none yet, 1 .. 3) of the clause so far. Combinations of clauses split the data.
    """

    label_names = ("sentiment", "topic")

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the vocabulary, in the order of their tokens."""
        fixed = {word for opening in OPENINGS for word in opening if "{" not in word}
        return tuple(sorted(fixed | {*GOOD, *BAD, *JOINS} | {noun for nouns in TOPICS.values() for noun in nouns}))

    @property
    def vocabulary(self) -> int:
        return len(self.words)

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        check_request(size, length)
        drawing, index = Drawing(size, split), {word: i for i, word in enumerate(self.words)}
        while drawing.missing:
            text, sentiment, topic = self._sentence(length + 1, generator)
            row = torch.tensor([[[index[word] for word in text], sentiment, topic]])
            drawing.offer(row, by=row[:, 0])
        tokens, said_sentiment, said_topic = drawing.rows.unbind(1)
        named = {"sentiment": said_sentiment[:, :-1], "topic": said_topic[:, :-1]}
        return Batch(tokens[:, :-1], tokens[:, 1:], named)

    def _sentence(self, length: int, generator: Generator) -> tuple[list[str], list[int], list[int]]:
        words: list[str] = []
        sentiments: list[int] = []
        topics: list[int] = []
        while len(words) < length:
            pick = torch.rand(6, generator=generator).tolist()
            good, topic = int(pick[0] * 2), int(pick[1] * len(TOPICS))
            adjective = (GOOD if good else BAD)[int(pick[2] * len(GOOD))]
            nouns = list(TOPICS.values())[topic]
            said_sentiment, said_topic = 0, 0
            for part in (*OPENINGS[int(pick[4] * len(OPENINGS))], JOINS[int(pick[5] * len(JOINS))]):
                word = {"{noun}": nouns[int(pick[3] * len(nouns))], "{adjective}": adjective}.get(part, part)
                said_sentiment = 1 + good if part == "{adjective}" else said_sentiment
                said_topic = 1 + topic if part == "{noun}" else said_topic
                words.append(word)
                sentiments.append(said_sentiment)
                topics.append(said_topic)
        return words[:length], sentiments[:length], topics[:length]
