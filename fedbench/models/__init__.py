"""Backbones, methods and the tensors that travel."""
