"""The demo: the whole loop on real text, with every promise measured."""
