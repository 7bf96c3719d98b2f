"""Options that two verbs have in common, written down once."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

Group = TypeVar("Group")
Own = ParamSpec("Own")


def sharing(
    group: type[Group], *, last: bool = False
) -> Callable[[Callable[Concatenate[Group, Own], None]], Callable[..., None]]:
    """Return a decorator for a verb whose first argument is a group of options.

    The verb's signature shows each option of the group by itself, before the verb's own or after
    them: that is what typer reads.

    Args:
        group: A dataclass whose fields are annotated as options, with defaults.
        last: Show the verb's own options first.
    """

    def decorate(verb: Callable[Concatenate[Group, Own], None]) -> Callable[..., None]:
        fields = dataclasses.fields(group)  # type: ignore[arg-type]
        shared = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty
                if field.default is dataclasses.MISSING
                else field.default,
                annotation=field.type,
            )
            for field in fields
        ]
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(verb).parameters.values())[1:]
        ]

        def run(**given: Any) -> None:  # noqa: ANN401
            taken = {field.name: given.pop(field.name) for field in fields}
            verb(group(**taken), **given)  # type: ignore[call-arg]

        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__module__ = verb.__module__
        options = [*own, *shared] if last else [*shared, *own]
        run.__annotations__ = {item.name: item.annotation for item in options}
        run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        return run

    return decorate
