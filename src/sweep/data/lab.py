"""The files that the lab hands out, known by their SHA-256, and the report on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
# In percent, from the report on these files: B, then (ordering, X) -> B' and G as
# (accuracy, ASR), channels pruned.
REPORT_B = (98.62042, 100.0)
REPORT = {
    ("increasing", 0.02): ((95.90023, 100.0), (95.74435, 100.0), 45),
    ("increasing", 0.04): ((92.29150, 99.98441), (92.12783, 99.98441), 48),
    ("increasing", 0.1): ((84.54404, 77.20966), (84.33359, 77.20966), 52),
    ("decreasing", 0.02): ((94.13094, 100.0), (93.95947, 100.0), 1),
    ("decreasing", 0.04): ((94.13094, 100.0), (93.95947, 100.0), 1),
    ("decreasing", 0.1): ((74.24786, 100.0), (74.09197, 100.0), 2),
}


def known(digests: Mapping[str, str]) -> dict[str, bool]:
    """Whether each file is, by its SHA-256, one that the lab hands out."""
    return {name: digest in SHA256.values() for name, digest in digests.items()}


def are_all(facts: Any) -> bool:
    """Whether a job read all of the lab's files, each as what it is; `facts` as in `Details`."""
    sets = {name: entry["sha256"] for name, entry in facts.get("sets", {}).items()}
    wanted = {name: digest for name, digest in SHA256.items() if not name.startswith("badnet")}
    networks = (SHA256["badnet"], SHA256["badnet weights"])
    return sets == wanted and facts["badnet"]["sha256"] in networks
