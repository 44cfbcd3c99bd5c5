"""The files that the lab hands out, known by their SHA-256."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHA256 = {
    "clean_valid": "e3ef2226611b9ccf932f86f4676c457b1f0645810ad1a4b166c7029169d38273",
    "poisoned_valid": "9c29ff522c9d0478d79e50d1ecd7dc0a333d5648131b7efa319526d9e99028ad",
    "clean_test": "3b13dbe082057eb1d4f13cda8fb0604614a84e4d87505a06c81cea8637b58d35",
    "poisoned_test": "ee46229f5c636c235ac732c42d1c516b5ab8fe348cfddf3db2d6a8399028747e",
    "badnet": "53e078e1b26d529c3367abe0e8fce339a7f3f2ed70f618b4e9ead997498121eb",
    "badnet weights": "68ec7afdfc570d39acbded72025fe37d4d14e770585001d75a393490d50fc629",
}


def known(digests: Mapping[str, str]) -> dict[str, bool]:
    """Whether each file is, by its SHA-256, one that the lab hands out."""
    return {name: digest in SHA256.values() for name, digest in digests.items()}
