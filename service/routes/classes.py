"""The classes of a model: those that may be said, and those that its champion knows."""

from __future__ import annotations

from fastapi import APIRouter

from service.deps import CallDep, ServingDep
from service.problems import declared
from service.schemas import ClassList, ClassOrder
from trimtab.ledger import models, versions
from trimtab.ledger.models import ModelRow

router = APIRouter(prefix="/admin/v1/models/{model}", tags=["operate"])


@router.get("/labels", responses=declared(404, 503))
def list_classes(model: str, serving: ServingDep) -> ClassList:
    """What feedback may say, and what the champion can answer."""
    with serving.ledger.read() as tx:
        return _listed(models.get_model(tx, model), versions.served_model(tx, model))


@router.post("/labels", responses=declared(404, 409, 503))
def declare_class(model: str, order: ClassOrder, serving: ServingDep, call: CallDep) -> ClassList:
    """Declare a new class: feedback may name it at once, the next adaptation with eight texts of it teaches it."""
    with serving.ledger.begin() as tx:
        row = models.declare_label(tx, model, order.label, actor=call.client)
        return _listed(row, versions.served_model(tx, model))


def _listed(row: ModelRow, served: ModelRow) -> ClassList:
    return ClassList(model=row.name, labels=list(row.labels), taught=list(served.labels))
