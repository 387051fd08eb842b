"""Pretraining of the two built-in backbones on free text of the Debian archive."""
