"""Every error that Trimtab raises on purpose. A class is one reaction a caller could have.

TrimtabError
├── SettingsError                 the process must not start                      (exit 2)
├── DataError                     the user's file is wrong: file, line, reason    (exit 2)
├── BaseModelMissing              the base model cannot be loaded                 (exit 2)
├── HomeInUse                     another supervisor owns this home               (exit 2)
├── InvalidInput                  the request is wrong                            (422)
│   └── InvalidTensor             an inference request is, in its own protocol    (400)
├── NotFound                                                                      (404)
│   ├── ModelNotFound, VersionNotFound, AliasNotFound, JobNotFound, ReportNotFound, LabelRequestNotFound
│   └── VersionNotLoaded          exists perhaps, but is not served by this replica
├── Conflict                                                                      (409)
│   ├── JobInFlight, IllegalTransition, LeaseLost, VersionRefused, NothingToRollBack,
│   │   NothingToAcknowledge, AlreadyExists, LabelRequestTaken
│   └── GenerationMismatch        somebody else changed it meanwhile              (412)
├── AdapterRefused                a version must not be built or served
│   └── SignatureInvalid, DigestMismatch, BaseMismatch, SelfTestFailed, MalformedAdapter
└── Unavailable                   try again later                                 (503)
    ├── NotReady, StoreUnavailable, LedgerUnavailable, QueueUnavailable, InsufficientMemory
    ├── Overloaded                the queue is full                               (429)
    └── DeadlineExceeded          waited too long, was not computed               (504)

The class docstring is the default message.
"""

from __future__ import annotations


class TrimtabError(Exception):
    """Something went wrong in Trimtab."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class SettingsError(TrimtabError):
    """A setting is wrong."""


class DataError(TrimtabError):
    """The data file cannot be used."""


class BaseModelMissing(TrimtabError):
    """The base model cannot be loaded: name a directory of a Hugging Face encoder or a hub id."""


class HomeInUse(TrimtabError):
    """Another `trimtab up` already runs on this home."""


class InvalidInput(TrimtabError):
    """The request cannot be understood."""


class InvalidTensor(InvalidInput):
    """The inference request cannot be understood."""


class NotFound(TrimtabError):
    """There is no such thing."""


class ModelNotFound(NotFound):
    """There is no such model."""


class VersionNotFound(NotFound):
    """There is no such version."""


class AliasNotFound(NotFound):
    """There is no such alias."""


class JobNotFound(NotFound):
    """There is no such job."""


class ReportNotFound(NotFound):
    """There is no such drift report."""


class LabelRequestNotFound(NotFound):
    """There is no such label request, or its text is kept no longer."""


class VersionNotLoaded(NotFound):
    """This version is not loaded: only versions that carry an alias are."""


class Conflict(TrimtabError):
    """The request does not fit the present state."""


class AlreadyExists(Conflict):
    """This name is taken."""


class JobInFlight(Conflict):
    """An adaptation of this model is already under way."""


class IllegalTransition(Conflict):
    """The job cannot change to this status."""


class LeaseLost(Conflict):
    """Another worker took this job over."""


class VersionRefused(Conflict):
    """This version must not be served: it was rejected, held or quarantined."""


class NothingToRollBack(Conflict):
    """There is no previous version to go back to."""


class NothingToAcknowledge(Conflict):
    """There is no confirmed drift to acknowledge."""


class LabelRequestTaken(Conflict):
    """Somebody else is labelling this text, or has."""


class GenerationMismatch(Conflict):
    """Somebody else changed what is served meanwhile: read the generation again and decide anew."""


class AdapterRefused(TrimtabError):
    """This adapter version must not be served."""


class SignatureInvalid(AdapterRefused):
    """The manifest's signature is missing or was not made by the trusted key."""


class DigestMismatch(AdapterRefused):
    """A file's digest differs from the one in the manifest."""


class BaseMismatch(AdapterRefused):
    """The adapter was trained on another base model or tokenizer than the one that is loaded."""


class MalformedAdapter(AdapterRefused):
    """The adapter's files are incomplete or do not fit the base model."""


class SelfTestFailed(AdapterRefused):
    """The merged model does not reproduce the outputs recorded by the trainer."""


class Unavailable(TrimtabError):
    """Not available now: try again later."""

    # When a caller may try again, seconds; whoever raises it may know better.
    retry_after_s: float = 1.0


class NotReady(Unavailable):
    """The model is not loaded yet."""


class StoreUnavailable(Unavailable):
    """The adapter store cannot be reached."""


class LedgerUnavailable(Unavailable):
    """The ledger cannot be reached."""


class QueueUnavailable(Unavailable):
    """Redis cannot be reached."""


class InsufficientMemory(Unavailable):
    """This version does not fit into memory beside what is loaded."""


class Overloaded(Unavailable):
    """Too many requests are waiting."""


class DeadlineExceeded(Unavailable):
    """The deadline passed before the request could be computed."""
