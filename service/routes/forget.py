"""DELETE /admin/v1/samples: forget a prediction, a request or a client, everywhere in the ledger."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.deps import CallDep, ServingDep
from service.problems import declared
from service.schemas import ForgottenInfo
from trimtab.errors import InvalidInput
from trimtab.ledger.forget import forget

router = APIRouter(prefix="/admin/v1", tags=["operate"])
MAX_NAME = 2000


@router.delete("/samples", responses=declared(422, 503))
def forget_samples(
    serving: ServingDep,
    call: CallDep,
    prediction_id: Annotated[
        str | None,
        Query(alias="id", min_length=1, max_length=MAX_NAME, description="of an item, or of a request"),
    ] = None,
    client: Annotated[
        str | None, Query(min_length=1, max_length=MAX_NAME, description="name of a key")
    ] = None,
) -> ForgottenInfo:
    """Delete samples with their labels, label requests and examples, in memory and gate sets, too; name one of the two.

    Saying it again is no error and finds nothing. What is still on its way is left out when it arrives.
    """
    if (prediction_id is None) == (client is None):
        raise InvalidInput("name either `id` or `client`")
    with serving.ledger.begin() as tx:
        gone = forget(tx, prediction_id=prediction_id, client=client, actor=call.client)
    return ForgottenInfo(**vars(gone))
