"""What may be done about a drift, one small file each: `propose_NAME(task) -> Proposal | Declined`, pure."""
