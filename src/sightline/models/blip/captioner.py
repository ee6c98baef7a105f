"""Pictures in, captions out: the two graphs and the searches between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.caption import CaptionRequest
from sightline.errors import InvalidParameters, ModelBroken
from sightline.models import Graph
from sightline.models.blip import beam_search
from sightline.models.blip.past import Past, States
from sightline.models.embedders import Square

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The model's own token before a caption, [DEC]. The tokenizer does not know it.
BEGIN_TOKEN = 30522
END_TOKEN = 102
VOCABULARY_SIZE = 30524

# Tensors that nobody reads but the graphs: what the vision half tells the decoder, and the decoder itself.
CARRIED = frozenset({"picture", "past", "states"})

# The decoder knows 512 places. A caption of one token would be the invisible first one.
LEAST_LENGTH, GREATEST_LENGTH = 2, 512
MOST_BEAMS = 16

# One picture keeps all cores busy. Eight at once leave the caches: 191 instead of 156 ms for each.
_SEEN_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Item:
    """A prepared request. ``pixels`` is uint8 [384, 384, 3]."""

    pixels: NDArray[np.uint8]
    max_length: int
    num_beams: int


class Captioner:
    """Captions in English, as ``str``.

    ``vision`` and ``decoder`` are the graphs of ``networks.blip``.
    """

    def __init__(self, square: Square, vision: Graph, decoder: Graph, tokenizer: Tokenizer) -> None:
        _require(vision, "vision.onnx", {"pixels"}, ["picture"])
        _require(
            decoder, "decoder.onnx", {"ids", "position", "hidden", "past", "picture"}, ["logits", "states"]
        )
        self._square = square
        self._vision = vision
        self._decoder = decoder
        self._tokenizer = tokenizer

    def prepare(self, subject: CaptionRequest) -> Item:
        """The view at 384 × 384 whatever its proportions, with the request's numbers.

        Raises:
            InvalidParameters: ``max_length`` is not 2 to 512, or ``num_beams`` is not 1 to 16.
        """
        length, beams = subject.max_length, subject.num_beams
        if not LEAST_LENGTH <= length <= GREATEST_LENGTH:
            raise InvalidParameters(
                f"max_length {length} is not possible; {LEAST_LENGTH} to {GREATEST_LENGTH} is"
            )
        if not 1 <= beams <= MOST_BEAMS:
            raise InvalidParameters(f"num_beams {beams} is not possible; 1 to {MOST_BEAMS} is")
        return Item(self._square.cut(subject.view), length, beams)

    def infer(self, items: Sequence[Item]) -> list[str]:
        return [self.text(ids) for ids in self.token_ids(items)]

    def token_ids(self, items: Sequence[Item]) -> list[list[int]]:
        """Return the answer of the transformers library's ``generate`` for each item alone."""
        found: dict[int, list[int]] = {}
        for num_beams in sorted({item.num_beams for item in items}):
            members = [number for number, item in enumerate(items) if item.num_beams == num_beams]
            lines = self._search([items[number] for number in members])
            found.update(zip(members, lines, strict=True))
        return [found[number] for number in range(len(items))]

    def text(self, ids: Iterable[int]) -> str:
        """The words of a caption, without the tokens that stand for none."""
        text: str = self._tokenizer.decode([number for number in ids if number < BEGIN_TOKEN])
        return text

    def _search(self, items: Sequence[Item]) -> list[list[int]]:
        """All items have the same number of beams, and each step computes one token for all of them."""
        pixels = np.stack([item.pixels for item in items])
        parts = [
            self._vision.run({"pixels": pixels[first : first + _SEEN_AT_ONCE]})[0]
            for first in range(0, len(pixels), _SEEN_AT_ONCE)
        ]
        picture: States = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        layers, _, heads, _, width = picture.shape
        past = Past(layers, len(items), heads, items[0].num_beams, width, picture.dtype)
        searches = [
            beam_search.begin(item.num_beams, beam_search.Rules(BEGIN_TOKEN, END_TOKEN, item.max_length))
            for item in items
        ]
        running = searches
        while running:
            self._step(running, past, picture)
            going_on = np.flatnonzero([not search.done for search in running])
            if len(going_on) < len(running):
                running = [running[number] for number in going_on]
                picture = np.take(picture, going_on, 1)
                past.keep(going_on)
        return [search.best() for search in searches]

    def _step(self, searches: Sequence[beam_search.Search], past: Past, picture: States) -> None:
        logits, states = self._decoder.run(
            {
                "ids": np.stack([search.newest for search in searches]),
                "position": np.array([past.steps], np.int64),
                "hidden": past.hidden,
                "past": past.states,
                "picture": picture,
            }
        )
        parents = [search.advance(each) for search, each in zip(searches, logits, strict=True)]
        past.add(states, np.stack(parents))


def _require(graph: Graph, name: str, inputs: set[str], outputs: list[str]) -> None:
    if {spec.name for spec in graph.inputs} != inputs or [spec.name for spec in graph.outputs] != outputs:
        raise ModelBroken(f"{name} is not a graph of BLIP: its inputs and outputs are others")
