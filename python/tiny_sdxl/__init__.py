"""Trains the small SDXL that ships with the project: drawings, captions, tokenizer, VAE, UNet, export and evaluation."""
