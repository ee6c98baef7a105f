"""Sets of labels to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A yes or no drawn from the probabilities of labels, between 0 and 1.

    Yes when any label of ``any_above`` has more than its number (or none is named), and every label of
    ``all_below`` has less than its.
    """

    name: str
    any_above: tuple[tuple[str, float], ...] = ()
    all_below: tuple[tuple[str, float], ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for label, _ in self.any_above + self.all_below)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels to choose from, each with the texts that describe it, in order, and rules over them."""

    name: str
    prompts: tuple[tuple[str, tuple[str, ...]], ...]
    rules: tuple[LabelRule, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label, _ in self.prompts)


# The subject is the name of the set.
LABEL_SETS: Capability[str, LabelSet] = Capability("label_sets", "A named set of labels.")

CAPABILITIES = (LABEL_SETS,)
