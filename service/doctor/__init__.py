"""`trimtab doctor`: what is wrong with a deployment, found before it hurts."""

from service.doctor.check import Check, Verdict
from service.doctor.examine import examine

__all__ = ["Check", "Verdict", "examine"]
