"""HEIC photos, which Pillow reads where pillow-heif is installed (the extra `heic`)."""

from __future__ import annotations

import functools


@functools.cache
def with_heic() -> bool:
    """Whether HEIC can be read here. The first call registers pillow-heif with Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except (ImportError, OSError):
        return False
    register_heif_opener()
    return True
