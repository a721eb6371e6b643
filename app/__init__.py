"""The service: HTTP in front, codes cached behind, heads in between."""

__version__ = "0.1.0"
