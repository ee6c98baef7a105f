"""Every error Sightline raises on purpose, as one tree.

    SightlineError
    ├── InputError                    the caller can fix it
    │   ├── InvalidRequest            malformed body, unknown field, too many of something
    │   ├── PayloadTooLarge           more bytes than the route accepts
    │   ├── UntrustedHost             the name in Host is none that this server answers to
    │   ├── UnsupportedContent        a body of a type or encoding the route does not read
    │   ├── UnknownOperation          no operation of that name
    │   ├── InvalidParameters         an operation's parameters do not fit its schema
    │   ├── InvalidExamples           nothing can be learned from them: one class, too few, damaged, mixed
    │   ├── UnknownModel              no model of that name, or none with that capability
    │   ├── ImageError
    │   │   ├── UnsupportedImage      not one of the image formats we open
    │   │   ├── ImageTooLarge         too many bytes, pixels, or too long a side
    │   │   ├── DecodingEnded         its decoder crashed, took too long or needed too much memory
    │   │   └── InvalidImage          truncated, corrupt, or empty
    │   └── FetchError
    │       ├── UrlRefused            scheme, port, credentials or address are not allowed
    │       ├── FetchFailed           any network failure; one message for all, on purpose
    │       └── FetchTimeout          the image did not arrive in time
    ├── TargetNotFound                nothing to work on: no face, no person. A result "skipped", no failure
    │   ├── UnknownCollection         no classifier was trained for that collection
    │   └── UnknownLibrary            no library of that name
    ├── ModelError
    │   ├── ModelUnavailable          weights are missing; the message says how to get them
    │   ├── ModelLoading              not ready yet; worth a retry
    │   ├── ModelBroken               weights are there and the model does not load
    │   ├── InferenceFailed           the model failed on this very item
    │   ├── ProviderFailed            a model that another service runs: it failed, or said nothing readable
    │   │   ├── KeyRefused            that service does not take the key of the settings
    │   │   └── AnswerInvalid         JSON was asked for, and twice none came that fits the schema
    │   ├── ProviderTimeout           that service did not answer in time
    │   └── AnswerRefused             the model declined to answer this question about this image
    ├── Overloaded                    the queue is full; carries retry_after_s
    │   ├── MemoryLow                 the process has used nearly all memory it may; heavy work waits
    │   └── QuotaExceeded             the service that runs the model takes no more questions for now
    ├── InsufficientStorage           the temporary folder cannot take the upload
    ├── DeadlineExceeded              the request's time ran out
    ├── WeightsError
    │   ├── SourceUnreachable         a hub, index or URL did not answer
    │   ├── SourceMissing             it answered: no such file
    │   ├── DigestMismatch            a file's sha256 is not the expected one
    │   ├── OfflineRefused            a download was needed in offline mode
    │   ├── CheckpointInvalid         a checkpoint is damaged, unsafe or of another model
    │   └── BundleInvalid             a bundle is damaged, foreign or unsafe
    ├── ArchiveError                  a public archive: its search and its documents
    │   ├── DocumentGone              the archive says that it has no such document
    │   ├── DocumentRefused           forbidden, hostile or leading nowhere; asking again changes nothing
    │   ├── DocumentUnavailable       every attempt failed; another time it may come
    │   │   └── HostSilent            its host gives no answer at all, for longer than one waits
    │   └── SearchFailed              an answer that no list of records can be made of; may be permanent
    ├── CollectionError               a collection's classifier cannot be made, changed or used
    │   ├── CollectionBusy            another training or change of it is under way; worth a retry
    │   ├── CollectionDamaged         a file of it is not what was written; what is served goes on
    │   ├── ExamplesUnreachable       where its examples come from is gone, silent or says something else
    │   └── VectorsRefused            the vectors are of another model than it was trained on
    ├── LibraryError                  a library of photos cannot be opened, searched or changed
    │   ├── LibraryBusy               another process writes to it; worth a retry
    │   ├── LibraryDamaged            its file cannot be read
    │   ├── LibraryRefused            a newer version, another program's file, a vector of no length
    │   └── LibraryOutdated           its vectors are of another model than the one that would be asked
    └── ConfigurationError            a setting, plug-in or registration is wrong; raised at start
        └── ExtraMissing              an optional part is not installed; the message says how to add it

Each class has a stable ``code`` for programs; ``str(error)`` is the public message. Neither ever contains
a path, a resolved address or a trace. HTTP status codes are the server's business.
"""

from __future__ import annotations

from collections.abc import Sequence


class SightlineError(Exception):
    """Base of every error here. ``str()`` of it may be shown to a caller."""

    code: str = "internal_error"


class InputError(SightlineError):
    """Something the caller sent is wrong and the message says what would be right."""

    code = "invalid_input"


class InvalidRequest(InputError):
    code = "invalid_request"


class PayloadTooLarge(InputError):
    code = "payload_too_large"


class UntrustedHost(InputError):
    code = "untrusted_host"


class UnsupportedContent(InputError):
    code = "unsupported_content"


class UnknownOperation(InputError):
    code = "unknown_operation"


class InvalidParameters(InputError):
    code = "invalid_parameters"


class InvalidExamples(InputError):
    code = "invalid_examples"


class UnknownModel(InputError):
    code = "unknown_model"


class ImageError(InputError):
    code = "image_error"


class UnsupportedImage(ImageError):
    code = "unsupported_image"


class ImageTooLarge(ImageError):
    code = "image_too_large"


class InvalidImage(ImageError):
    code = "invalid_image"


class DecodingEnded(ImageError):
    """The process that decoded the image was ended, and nothing else was disturbed."""

    code = "decoding_ended"


class FetchError(InputError):
    code = "fetch_error"


class UrlRefused(FetchError):
    code = "url_refused"


class FetchFailed(FetchError):
    code = "fetch_failed"


class FetchTimeout(FetchError):
    code = "fetch_timeout"


class TargetNotFound(SightlineError):
    code = "target_not_found"


class UnknownCollection(TargetNotFound):
    """``collection`` is the id as it was asked for, a very long one cut."""

    code = "unknown_collection"

    def __init__(self, collection: str) -> None:
        self.collection = collection[:100]
        super().__init__(f"there is no classifier for a collection {self.collection!r}")


class UnknownLibrary(TargetNotFound):
    """``library`` is the name as it was asked for; ``known`` are those there are."""

    code = "unknown_library"

    def __init__(self, library: str, known: Sequence[str] = ()) -> None:
        self.library = library[:100]
        there_are = ", ".join(known) or "none"
        super().__init__(f"there is no library {self.library!r}; there are {there_are}")


class ModelError(SightlineError):
    code = "model_error"


class ModelUnavailable(ModelError):
    code = "model_unavailable"


class ModelLoading(ModelError):
    """``retry_after_s`` is a whole number of seconds after which the model is probably ready."""

    code = "model_loading"

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelBroken(ModelError):
    code = "model_broken"


class InferenceFailed(ModelError):
    code = "inference_failed"


class ProviderFailed(ModelError):
    code = "provider_failed"


class KeyRefused(ProviderFailed):
    code = "provider_key_refused"


class AnswerInvalid(ProviderFailed):
    code = "answer_invalid"


class ProviderTimeout(ModelError):
    code = "provider_timeout"


class AnswerRefused(ModelError):
    code = "answer_refused"


class Overloaded(SightlineError):
    """The work was refused before it began. ``retry_after_s`` is a whole number of seconds, at least 1."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MemoryLow(Overloaded):
    code = "memory_low"


class QuotaExceeded(Overloaded):
    code = "quota_exceeded"


class DeadlineExceeded(SightlineError):
    code = "deadline_exceeded"


class InsufficientStorage(SightlineError):
    code = "insufficient_storage"


class WeightsError(SightlineError):
    code = "weights_error"


class SourceUnreachable(WeightsError):
    code = "source_unreachable"


class SourceMissing(WeightsError):
    code = "source_missing"


class DigestMismatch(WeightsError):
    code = "digest_mismatch"


class OfflineRefused(WeightsError):
    code = "offline"


class CheckpointInvalid(WeightsError):
    code = "checkpoint_invalid"


class BundleInvalid(WeightsError):
    code = "bundle_invalid"


class ArchiveError(SightlineError):
    """``permanent``: asking again will not help. ``status``: the HTTP status that decided it, if one did."""

    code = "archive_error"
    permanent = False

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DocumentGone(ArchiveError):
    code = "document_gone"
    permanent = True


class DocumentRefused(ArchiveError):
    code = "document_refused"
    permanent = True


class DocumentUnavailable(ArchiveError):
    code = "document_unavailable"


class HostSilent(DocumentUnavailable):
    code = "host_silent"


class SearchFailed(ArchiveError):
    """``diagnostic``: the service's own number for what went wrong, if it gave one."""

    code = "search_failed"

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        diagnostic: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, status=status)
        self.permanent = permanent
        self.diagnostic = diagnostic


class CollectionError(SightlineError):
    code = "collection_error"


class CollectionBusy(CollectionError):
    code = "collection_busy"


class CollectionDamaged(CollectionError):
    code = "collection_damaged"


class ExamplesUnreachable(CollectionError):
    code = "examples_unreachable"


class VectorsRefused(CollectionError):
    code = "vectors_refused"


class LibraryError(SightlineError):
    code = "library_error"


class LibraryBusy(LibraryError):
    code = "library_busy"


class LibraryDamaged(LibraryError):
    code = "library_damaged"


class LibraryRefused(LibraryError):
    code = "library_refused"


class LibraryOutdated(LibraryError):
    code = "library_outdated"

    @classmethod
    def by_fingerprints(cls, library: str, model: str, stored: str, installed: str) -> LibraryOutdated:
        """Return the error that names two fingerprints of ``model`` and the cure."""
        return cls(
            f"library {library!r} has vectors of {model} {stored[:12]}; installed is {installed[:12]}. "
            "To embed its photos anew, while the old vectors answer, run: "
            f"sightline index --library {library} --reembed"
        )


class ConfigurationError(SightlineError):
    code = "configuration_error"


class ExtraMissing(ConfigurationError):
    code = "extra_missing"
