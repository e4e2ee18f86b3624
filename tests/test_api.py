"""The public interface is what tests/api.txt says; a change of it is meant.

``python tests/test_api.py > tests/api.txt`` writes it anew.
"""

import inspect
import textwrap
from pathlib import Path

import skrebatch

SNAPSHOT = Path(__file__).with_name("api.txt")


def signature(call):
    """Names, kinds and defaults of the parameters; types are for type checkers."""
    found = inspect.signature(call)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def describe():
    """Each public function, class, method and property, with its signature."""
    for name in sorted(skrebatch.__all__):
        public = getattr(skrebatch, name)
        if inspect.isclass(public) and issubclass(public, Exception):
            yield name
            continue
        yield f"{name}{signature(public)}"
        if not inspect.isclass(public):
            continue
        for member, value in inspect.getmembers(public):
            own = getattr(value, "__module__", "") or ""
            if member.startswith("_"):
                continue
            if isinstance(value, property):
                yield f"{name}.{member}"
            elif callable(value) and own.startswith("skrebatch"):
                yield f"{name}.{member}{signature(value)}"


def snapshot():
    """The description in lines that differ little where the interface does."""
    return "".join(
        textwrap.fill(entry, 88, subsequent_indent="    ", break_long_words=False)
        + "\n"
        for entry in describe()
    )


def test_the_public_interface_is_the_one_written_down():
    assert snapshot() == SNAPSHOT.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(snapshot(), end="")
