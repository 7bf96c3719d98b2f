"""The head of a card, which the Hub and the list of models read, and the text below it."""

import re

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(?:.*?\r?\n)?---[ \t]*\r?\n", re.DOTALL)

_LICENCE = re.compile(r"^license:\s*['\"]?([a-z0-9][a-z0-9.-]{0,60})['\"]?\s*$", re.MULTILINE)


def split_card(card: str) -> tuple[str, str]:
    """Return the head of a card, YAML between two lines of hyphens, and the rest of it.

    The head has its lines of hyphens; it is empty where the card has none.
    """
    found = _FRONT_MATTER.match(card)
    return ("", card) if found is None else (found[0], card[found.end() :])


def licence_in(card: str) -> str | None:
    """Return the licence that the head of a card names, or None."""
    found = _LICENCE.search(split_card(card)[0])
    return None if found is None else found[1]
