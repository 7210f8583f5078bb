"""GraphQL over Gen3 Butler data repositories."""

__version__ = "0.1.0"
