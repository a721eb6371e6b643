"""The version of this distribution, read by the build and sent as the user agent."""

__version__ = "0.1.0"
