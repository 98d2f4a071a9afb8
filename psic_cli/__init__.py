"""psic: one compressed picture that people can see, machines misread, and a key restores in full."""

__version__ = "0.1.0"
