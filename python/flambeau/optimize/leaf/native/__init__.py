"""Kernels in C++, built by this machine's compiler for its processor: optional, as everything works without them."""
