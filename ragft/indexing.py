"""What the index is told by the configuration: how documents are read and cut, and how vectors are kept."""

from __future__ import annotations

from index.documents.formats import Fields, Limits, ReadSettings
from index.refresh.refresh import RefreshSettings
from index.store.vectors import VectorSettings
from ragft.config import Config, IndexSection

_MEBIBYTE = 2**20


def read_settings(section: IndexSection) -> ReadSettings:
    """Patterns, fields and limits as the index takes them: sizes in bytes."""
    limits = section.limits
    return ReadSettings(
        include=section.include,
        exclude=section.exclude,
        fields=Fields(**section.fields.model_dump()),
        limits=Limits(
            file_bytes=int(limits.file_mb * _MEBIBYTE),
            pages=limits.pages,
            characters=limits.characters,
            depth=limits.depth,
            expanded_bytes=int(limits.expanded_mb * _MEBIBYTE),
            expansion_ratio=limits.expansion_ratio,
            seconds=limits.seconds,
            memory_bytes=int(limits.memory_mb * _MEBIBYTE),
        ),
    )


def vector_settings(config: Config) -> VectorSettings:
    """How the vectors of new segments are kept."""
    section = config.index
    return VectorSettings(section.kind, section.approximate_rows, section.recall, config.seed)


def refresh_settings(config: Config, *, allow_removal: float | None = None) -> RefreshSettings:
    """What the index is to be like, whoever refreshes it.

    Args:
        allow_removal: Share of the documents that may vanish, instead of the configured one.
    """
    section = config.index
    return RefreshSettings(
        max_tokens=section.chunk_tokens,
        overlap=section.overlap,
        reading=read_settings(section),
        vectors=vector_settings(config),
        allow_removal=section.allow_removal if allow_removal is None else allow_removal,
        keep_snapshots=section.keep_snapshots,
        cache_mib=section.cache_mib,
    )
