"""What a shell proposes for names that the project knows: pipelines, models, mappings, products."""

from collections.abc import Callable, Iterable

__all__ = ["mapping_names", "model_names", "pipeline_names", "product_names"]


def _proposed(known: Callable[[], Iterable[str]], begin: str) -> list[str]:
    """Give the names that begin so; none if they can't be had: a line that is being typed is no place for errors."""
    try:
        return sorted(name for name in known() if name.startswith(begin))
    except Exception:
        return []


def pipeline_names(incomplete: str) -> list[str]:
    """Propose pipelines."""

    def known() -> Iterable[str]:
        from astra_models import outputs

        return outputs.pipeline_names()

    return _proposed(known, incomplete)


def model_names(incomplete: str) -> list[str]:
    """Propose models, by the names of their tables or, in capitals, of their classes."""

    def known() -> Iterable[str]:
        from astra_models.outputs.known_models import all_models

        is_class = incomplete[:1].isupper()
        return {str(model.__name__ if is_class else model._meta.table_name) for model in all_models()}

    return _proposed(known, incomplete)


def mapping_names(incomplete: str) -> list[str]:
    """Propose mappings of the project."""

    def known() -> Iterable[str]:
        from astra_models.ingest.tables.shipped import shipped_names

        return shipped_names()

    return _proposed(known, incomplete)


def product_names(incomplete: str) -> list[str]:
    """Propose summary products."""

    def known() -> Iterable[str]:
        from astra_models.products.summary import products

        return [*products(), "list"]

    return _proposed(known, incomplete)
