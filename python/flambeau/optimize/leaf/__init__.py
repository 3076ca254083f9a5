"""Faster kernels for single layers: which layers, which kernels, at what error."""
