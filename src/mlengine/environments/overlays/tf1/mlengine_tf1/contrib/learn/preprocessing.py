"""Words to numbers: `VocabularyProcessor`, by which text trainers made their input."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["VocabularyProcessor", "tokenizer"]

WORD = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z][a-z]+(?=[A-Z])|[\'\w\-]+")


def tokenizer(iterator: Iterable[str]) -> Iterator[list[str]]:
    """Yield each text's words."""
    for text in iterator:
        yield WORD.findall(text)


class VocabularyProcessor:
    """Numbers words by when they were first seen; 0 is for the unknown and for padding."""

    def __init__(
        self,
        max_document_length: int,
        min_frequency: int = 0,
        vocabulary: Any = None,
        tokenizer_fn: Callable[[Iterable[str]], Iterable[list[str]]] | None = None,
    ) -> None:
        self.max_document_length = max_document_length
        self.min_frequency = min_frequency
        self.vocabulary_: dict[str, int] = dict(vocabulary or {"<UNK>": 0})
        self._tokenizer = tokenizer_fn or tokenizer

    def fit(self, raw_documents: Iterable[str], unused_y: Any = None) -> VocabularyProcessor:
        """Learn the words of these texts."""
        counts: collections.Counter[str] = collections.Counter()
        for words in self._tokenizer(raw_documents):
            counts.update(words)
        for word, count in counts.items():
            if count > self.min_frequency:
                self.vocabulary_.setdefault(word, len(self.vocabulary_))
        return self

    def transform(self, raw_documents: Iterable[str]) -> Iterator[Any]:
        """Yield each text as numbers, cut or padded to `max_document_length`."""
        for words in self._tokenizer(raw_documents):
            ids = np.zeros(self.max_document_length, np.int64)
            for i, word in enumerate(words[: self.max_document_length]):
                ids[i] = self.vocabulary_.get(word, 0)
            yield ids

    def fit_transform(self, raw_documents: Iterable[str], unused_y: Any = None) -> Iterator[Any]:
        """Learn the words of these texts, then yield them as numbers."""
        texts = list(raw_documents)
        return self.fit(texts).transform(texts)

    def reverse(self, documents: Iterable[Any]) -> Iterator[str]:
        """Yield each row of numbers as words."""
        words = {number: word for word, number in self.vocabulary_.items()}
        for ids in documents:
            yield " ".join(words[int(number)] for number in ids)

    def save(self, filename: str) -> None:
        """Write the vocabulary to a file."""
        with tf.io.gfile.GFile(filename, "w") as file:
            json.dump([self.max_document_length, self.vocabulary_], file)

    @classmethod
    def restore(cls, filename: str) -> VocabularyProcessor:
        """Read what `save` wrote."""
        with tf.io.gfile.GFile(filename) as file:
            length, words = json.load(file)
        return cls(length, vocabulary=words)
