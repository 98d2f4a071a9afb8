"""What the encoder looks for before it writes a file: latents that cost less, and latents that mislead models.

Start with find.py.
"""
