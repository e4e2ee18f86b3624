"""JSON text of limited size, as the headers of files contain it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# Limits on the memory that is needed to parse text from any file.
MAX_BYTES = 4 * 2**20
MAX_VALUES = 250_000


def to_text(plain: Any) -> str:
    """Return JSON values as text, without NaN and infinity."""
    return json.dumps(plain, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Any:
    """Parse JSON of limited size, without NaN, infinity or duplicate names."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not valid JSON")

    if count_values(text) > MAX_VALUES:
        raise ValueError("it contains too many values")
    return json.loads(text, object_pairs_hook=without_duplicates, parse_constant=refuse)


def count_values(text: str) -> int:
    """Return an upper bound on the number of values in JSON text."""
    return sum(text.count(character) for character in "[{,")
