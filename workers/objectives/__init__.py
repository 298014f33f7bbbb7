"""Losses: one small file each, a pure function of logits and targets."""
