"""The list of verbs in groups, and the answer to a command line that is refused."""

import difflib
from typing import Any

from typer.core import TyperGroup

from ecgjepa.config import keys_named

START, DATA, TRAIN, JUDGE, USE = "Start here", "Data", "Train", "Judge", "Use"
# A verb is of the group of the module that it is written in, unless it names another one.
_GROUPS = {
    "sources": DATA,
    "data": DATA,
    "training": TRAIN,
    "evaluation": JUDGE,
    "judging": JUDGE,
    "use": USE,
}


class Verbs(TyperGroup):
    """The command's verbs, listed in groups in the order of use."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write one section a group; each verb has one line that is not cut."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: verb for name, verb in found.items() if verb and not verb.hidden}
        longest = max(map(len, shown))
        for group in (START, DATA, TRAIN, JUDGE, USE):
            rows = [
                (name.ljust(longest), verb.get_short_help_str(formatter.width - 6 - longest))
                for name, verb in shown.items()
                if _group(verb) == group
            ]
            with formatter.section(group):
                formatter.write_dl(rows)


def _group(verb: Any) -> str:  # noqa: ANN401
    if isinstance(named := getattr(verb, "rich_help_panel", None), str):
        return named
    return _GROUPS.get(verb.callback.__module__.rpartition(".")[2], USE)


def is_help(error: Exception) -> bool:
    """Return whether typer raised help, which is what a command without arguments prints."""
    return type(error).__name__ == "NoArgsIsHelpError"


def explain_refusal(error: Any, words: list[str]) -> str:  # noqa: ANN401
    """Return what is wrong with a command line and how it is used.

    Args:
        error: What typer raised.
        words: What was typed after the command's name.
    """
    context = error.ctx
    if context is None:
        return error.format_message()
    text = error.format_message().rstrip(".")
    option = getattr(error, "option_name", None)
    if option is not None and type(error).__name__ == "NoSuchOption":
        text = f"{error.message}{_meant(option, context.command, words)}"
    return f"{text}\n'{context.command_path} -h' explains how it is used"


def _meant(option: str, command: Any, words: list[str]) -> str:  # noqa: ANN401
    """Return which option or setting an unknown option may mean."""
    known = [name for parameter in command.params for name in parameter.opts]
    name = option.lstrip("-").replace("-", "_")
    if "--set" in known and (keys := _settings_named(name, command.name)):
        value = _value_of(option, words)
        choices = " or ".join(f"--set {key}={value}" for key in keys)
        return f". It is a setting: use {choices}"
    close = difflib.get_close_matches(option, known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _settings_named(name: str, verb: str) -> list[str]:
    if verb not in ("probe", "finetune"):
        return keys_named(name)
    from ecgjepa.protocols.settings import ProtocolConfig

    return [name] if name in ProtocolConfig.model_fields else []


def _value_of(option: str, words: list[str]) -> str:
    """Return what was typed after an unknown option, or dots."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and following and not following.startswith("-"):
            return following
    return "…"
