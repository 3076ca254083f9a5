"""Tensors, arrays and images in bulk."""
