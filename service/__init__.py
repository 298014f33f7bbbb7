"""The HTTP edge, the inference engine and the command line (composition root)."""
