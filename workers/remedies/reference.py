"""References only: the champion as it is, with drift references that know the new domain, so that it alarms no more."""

from __future__ import annotations

from workers.remedies.variants import as_it_is
from workers.task import Proposal, Task

NAME = "reference"


def propose_reference(task: Task) -> Proposal:
    """The champion's own files; whoever publishes them adds the new domain's references."""
    return Proposal(
        name=NAME,
        candidate=as_it_is(task),
        cost=0,
        reason="every answer stays; the new domain joins the references",
    )
