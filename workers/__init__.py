"""Adaptation: the Celery app, the recipe, memory and gate."""
