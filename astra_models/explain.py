"""Everything about one star: see `astra_models.status.explain`."""

from astra_models.status.explain import HEADLINES, explain_star, find_star

__all__ = ["HEADLINES", "explain_star", "find_star"]
