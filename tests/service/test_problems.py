"""What every error of ours means over HTTP."""

from __future__ import annotations

import json

import pytest

from service.problems import declared, problem_of
from trimtab import errors
from trimtab.errors import TrimtabError

STATUS = {
    "ModelNotFound": 404, "VersionNotFound": 404, "AliasNotFound": 404, "JobNotFound": 404, "ReportNotFound": 404,
    "LabelRequestNotFound": 404, "LabelRequestTaken": 409,
    "VersionNotLoaded": 404, "NotFound": 404, "InvalidInput": 422, "Conflict": 409, "AlreadyExists": 409,
    "InvalidTensor": 400,
    "JobInFlight": 409, "IllegalTransition": 409, "LeaseLost": 409, "VersionRefused": 409, "NothingToRollBack": 409,
    "NothingToAcknowledge": 409,
    "GenerationMismatch": 412, "AdapterRefused": 409, "SignatureInvalid": 409, "DigestMismatch": 409,
    "BaseMismatch": 409, "MalformedAdapter": 409, "SelfTestFailed": 409, "Unavailable": 503, "NotReady": 503,
    "StoreUnavailable": 503, "LedgerUnavailable": 503, "QueueUnavailable": 503, "InsufficientMemory": 503,
    "Overloaded": 429, "DeadlineExceeded": 504, "SettingsError": 500, "DataError": 500, "BaseModelMissing": 500,
    "HomeInUse": 500, "TrimtabError": 500,
}  # fmt: skip
CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, TrimtabError)]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_a_status_and_one_shape(error: type[TrimtabError]) -> None:
    response = problem_of(error("what happened"), "call-1")
    body = json.loads(bytes(response.body))
    assert response.status_code == body["status"] == STATUS[error.__name__]
    assert response.media_type == "application/problem+json"
    assert body["type"].startswith("urn:trimtab:problem:")
    assert body["error"] == f"{body['title']}: {body['detail']}"
    assert body["request_id"] == "call-1"
    assert ("Retry-After" in response.headers) == (response.status_code in {429, 503})


@pytest.mark.parametrize(
    "error", ["StoreUnavailable", "LedgerUnavailable", "QueueUnavailable", "SettingsError"]
)
def test_what_is_inside_the_house_is_not_shown(error: str) -> None:
    response = problem_of(getattr(errors, error)("postgresql://user:password@host"), "call-1")
    assert b"password" not in bytes(response.body)


def test_a_wait_is_rounded_up_to_whole_seconds() -> None:
    error = errors.Overloaded()
    error.retry_after_s = 2.2
    assert problem_of(error, "call-1").headers["Retry-After"] == "3"


def test_declared_codes_hold_those_that_every_route_may_answer() -> None:
    assert list(declared(404)) == [401, 403, 404, 422, 500]
