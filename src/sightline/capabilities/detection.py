"""Boxes of persons, faces, objects and animals."""

from __future__ import annotations

from sightline.capabilities import Capability
from sightline.imaging import View
from sightline.types import Detection

# The label of persons. A model with PERSON_BOXES may find other things too.
PERSON = "person"

# Boxes are in pixels of the view.
PERSON_BOXES: Capability[View, list[Detection]] = Capability(
    "person_boxes", "Boxes of persons, and possibly of other objects."
)
FACE_BOXES: Capability[View, list[Detection]] = Capability("face_boxes", "Boxes and landmarks of faces.")
OBJECT_BOXES: Capability[View, list[Detection]] = Capability(
    "object_boxes", "Boxes of objects with their names."
)
ANIMAL_BOXES: Capability[View, list[Detection]] = Capability(
    "animal_boxes", "Boxes of animals, humans and vehicles."
)

CAPABILITIES = (PERSON_BOXES, FACE_BOXES, OBJECT_BOXES, ANIMAL_BOXES)
