"""Operations: one file per operation. This page is the contract; the files beside it are the operations.

To add one, add a file here (or in a plug-in folder) with ``OPERATIONS = (MyOperation(), ...)``. Routes,
OpenAPI, the command line, metrics labels and docs are derived from its attributes.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sightline import registry
from sightline.capabilities import Capability, OutputT, SubjectT
from sightline.imaging import Picture, View
from sightline.settings import Settings
from sightline.types import Detection, FaceContext, ModelRef, Region, Target


class TimingGroup(StrEnum):
    """Kinds of work in the request log, where the time of each is added up."""

    DETECTION = "detection"
    EMBEDDING = "embedding"
    CLASSIFICATION = "classification"
    DESCRIPTION = "description"


ValueT = TypeVar("ValueT")
ParamT = ParamSpec("ParamT")


class Params(BaseModel):
    """Base of every operation's parameters: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Result(BaseModel):
    """Base of every operation's result."""

    model_config = ConfigDict(frozen=True)


class RegionParams(Params):
    """Parameters of operations that work on a part of a picture."""

    target: Target = Field(Target.WHOLE_IMAGE, description="The part of the picture to work on.")
    face_context: FaceContext = Field(
        FaceContext.PROMINENT_PERSON,
        description="Where a prominent face is looked for: inside the prominent person, or everywhere.",
    )


class EmbeddingResult(Result):
    """A vector. Only vectors of one ``space`` (and one model fingerprint) can be compared."""

    vector: list[float] | str = Field(description="Numbers, or base64 of little-endian float32.")
    dimensions: int
    space: str
    normalized: bool


class EmbeddingStyle(Params):
    """How an embedding is written."""

    normalize: bool = Field(False, description="Scale the vector to length 1. The raw vector is the default.")
    encoding: Literal["float", "base64"] = Field("float", description="Numbers, or base64 of float32.")

    def written(self, vector: NDArray[np.float32], space: str) -> EmbeddingResult:
        """``vector`` float32 [dimensions] as these parameters want it."""
        if self.normalize:
            # 1e-12 is the epsilon of torch.nn.functional.normalize.
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        numbers: list[float] | str = vector.tolist()
        if self.encoding == "base64":
            numbers = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
        return EmbeddingResult(vector=numbers, dimensions=vector.size, space=space, normalized=self.normalize)


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """Durations of one inference in milliseconds. Equal by identity: several tasks may share one."""

    load_ms: float = 0.0
    prepare_ms: float = 0.0
    queue_ms: float = 0.0
    infer_ms: float = 0.0

    @classmethod
    def of(cls, *, prepare_s: float = 0.0, queue_s: float = 0.0, infer_s: float = 0.0) -> Timing:
        return cls(prepare_ms=prepare_s * 1000, queue_ms=queue_s * 1000, infer_ms=infer_s * 1000)


@dataclass(frozen=True, slots=True)
class Inference(Generic[OutputT]):
    """A model's output for one subject, and its model. ``timing`` is None for a remembered output."""

    output: OutputT
    model: ModelRef
    timing: Timing | None = field(default=None, compare=False)


class Scene(Protocol):
    """One picture during one request, as an operation sees it. Everything found is remembered and shared.

    Two operations that need the same box, crop or embedding wait for one computation of it.
    """

    @property
    def picture(self) -> Picture:
        """Raises InvalidRequest when the request came without a picture."""
        ...

    async def person(self) -> Detection | None:
        """The person with the highest score, in pixels of the picture."""
        ...

    async def faces(self, context: FaceContext) -> list[Detection]:
        """All faces, the most probable first, in pixels of the picture. In person context they are looked for
        inside the person's box, and in the whole image when there is no person or no detector of persons
        (none installed, or its weights missing: the answer carries a warning then)."""
        ...

    async def face(self, context: FaceContext) -> Detection | None:
        """The most probable of :meth:`faces`."""
        ...

    async def region(self, target: Target, context: FaceContext) -> Region:
        """Where ``target`` is. A missing person falls back to the whole image.

        Raises:
            TargetNotFound: a face was asked for and there is none.
        """
        ...

    def view(self, region: Region) -> View:
        """The pixels of a region, undecoded until a model prepares them."""
        ...

    @property
    def others(self) -> tuple[View, ...]:
        """All further pictures of the request, where the operation takes several together."""
        ...

    async def infer(
        self, capability: Capability[SubjectT, OutputT], subject: SubjectT, space: str | None = None
    ) -> Inference[OutputT]:
        """Run a model on a subject. It is the model that :meth:`Models.find` names.

        Raises:
            UnknownModel, ModelUnavailable, ModelLoading, ModelBroken, InferenceFailed, Overloaded,
            DeadlineExceeded.
        """
        ...

    async def infer_all(
        self,
        capability: Capability[SubjectT, OutputT],
        subjects: Sequence[SubjectT],
        space: str | None = None,
    ) -> list[Inference[OutputT]]:
        """:meth:`infer` for many subjects, in their order. Equal subjects are computed once.

        Subjects beyond the number that a request may have in a lane follow one by one.
        """
        ...

    def known(
        self, capability: Capability[SubjectT, OutputT], subject: SubjectT, space: str | None = None
    ) -> Inference[OutputT] | None:
        """Return the result of :meth:`infer` if nothing has to be computed for it, else None.

        For operations with many subjects: a task for each costs more than a result that is cached.
        """
        ...

    async def work(
        self, function: Callable[ParamT, ValueT], *args: ParamT.args, **kwargs: ParamT.kwargs
    ) -> ValueT:
        """Run ``function`` on a worker thread, for operations that look at pixels without a model.

        Views among the arguments may be decoded there. They count against the limits on memory and threads.

        Raises:
            MemoryLow, Overloaded, DeadlineExceeded.
        """
        ...


class Models(Protocol):
    """The available models by capability."""

    def find(self, capability: Capability[Any, Any], space: str | None = None) -> str:
        """Name of the first model with ``capability``, one that is configured before one that is not; with
        ``space`` the one in that embedding space, or, of models that have none, the one of that name.

        Raises:
            ModelUnavailable: no installed model has it at all.
            UnknownModel: none is so called; the message lists those there are.
        """
        ...

    def similarity_scale(self, model: str) -> float | None:
        """Return the factor of the cosine with a text's vector before a softmax; None if the card
        of the model has no such number."""
        ...

    def ref(self, model: str) -> ModelRef | None:
        """Name, fingerprint and provenance of a loaded model; None while it is not loaded."""
        ...


ParamsT = TypeVar("ParamsT", bound=Params)
ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True, slots=True)
class Answer(Generic[ResultT]):
    """The result of an operation. ``region`` is the part it worked on, for answers about a part.

    A detection has none: its box is its data. ``warnings`` say what a reader must know to not misread it.
    """

    data: ResultT | None
    model: ModelRef | None = None
    region: Region | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskTemplate:
    """A task to run when a request names none."""

    id: str
    params: Mapping[str, Any] = field(default_factory=dict)


class Operation(ABC, Generic[ParamsT, ResultT]):
    """One question that can be asked of a picture (or, without ``needs_picture``, of a text).

    Attributes:
        name: what requests call it.
        description: one sentence, for people.
        needs: capabilities it may ask models for.
        optional_needs: those of them that only other than default parameters ask for.
        default_spaces: for a capability that several models have, the space that default parameters name.
        targets, default_target: parts of the picture it can work on; empty if it knows no targets.
        example: parameters for docs, OpenAPI and conformance tests.
        default_tasks: what a request that names no task gets from this operation.
        purposes: other words for what it is for, by which its models are pulled; operations may share one.
        timing_group: the kind of work that its time counts as in logs.
    """

    name: str
    description: str
    needs: tuple[Capability[Any, Any], ...]
    Params: type[ParamsT]
    Result: type[ResultT]
    example: Mapping[str, Any]
    timing_group: TimingGroup
    optional_needs: tuple[Capability[Any, Any], ...] = ()
    default_spaces: Mapping[Capability[Any, Any], str] = {}
    targets: tuple[Target, ...] = ()
    default_target: Target | None = None
    needs_picture: bool = True
    default_tasks: tuple[TaskTemplate, ...] = ()
    purposes: tuple[str, ...] = ()

    @property
    def default_needs(self) -> tuple[Capability[Any, Any], ...]:
        """Capabilities that a request with default parameters asks models for."""
        return tuple(need for need in self.needs if need not in self.optional_needs)

    @abstractmethod
    async def run(self, scene: Scene, params: ParamsT, models: Models) -> Answer[ResultT]:
        """Answer the question. A TargetNotFound raised here is a result "skipped", not a failure."""

    def together(self, params: ParamsT) -> bool:
        """Return whether all images of a request are one subject, rather than each its own."""
        return False

    def patience_s(self, settings: Settings) -> float:
        """How long a request for this may take. A request is given that of its most patient task."""
        return settings.request_timeout_s

    def words(self, result: ResultT) -> str | None:
        """Return how the result reads for people, in one or two lines. None: the fields say enough."""
        return None

    def fields(self, result: ResultT) -> Mapping[str, str | float] | None:
        """Return the values by which libraries find photos. None: the plain values among its fields."""
        return None

    def plain(self, result: ResultT) -> Any:
        """The result as the image-embed contract writes it: a bare list, string or object."""
        return result.model_dump(mode="json")


def catalogue(plugins_dir: Path | None = None) -> Mapping[str, Operation[Any, Any]]:
    """Every operation built in, installed or plugged in, by name.

    Raises:
        ConfigurationError: a plug-in does not import, or two operations claim one name.
    """
    kind: type[Operation[Any, Any]] = Operation  # type: ignore[type-abstract]
    return registry.discover("sightline.operations", "OPERATIONS", kind, plugins_dir)
