"""What the Hub refuses, and how it fails, in words that say what to do; no token among them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from ecgjepa.errors import EcgjepaError, HubError
from ecgjepa.files import DiskFullError

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{6,}|(?i:bearer)\s+\S+")
_USER = re.compile(r"//[^/@\s]*@")
_MOST_LETTERS = 300
_LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


def hub_library() -> ModuleType:
    """Return huggingface_hub, imported.

    Raises:
        HubError: If it is not installed.
    """
    try:
        import huggingface_hub.constants
    except ImportError:
        raise HubError(
            "models of the Hub need huggingface_hub, which is not installed; run "
            "pip install 'ecgjepa[hub]'"
        ) from None
    return huggingface_hub


@contextmanager
def explained(name: str, revision: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the library of the Hub raises into an error that says what to do.

    Args:
        name: Name of the repository.
        revision: Branch, tag or commit that is asked for.
        endpoint: Address of the Hub.

    Raises:
        HubError: In place of the library's errors; `UnreachableHubError` if there is no answer.
    """
    hub_library()
    from huggingface_hub import errors

    endpoint = without_password(endpoint)
    # httpx or httpx2, by the version of the library.
    http = import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    try:
        yield
    except (EcgjepaError, DiskFullError):
        raise
    except errors.OfflineModeIsEnabled:
        raise UnreachableHubError("HF_HUB_OFFLINE is set, so the Hub is not asked") from None
    except (http.TransportError, errors.LocalEntryNotFoundError) as error:
        raise UnreachableHubError(
            f"the Hub at {endpoint} cannot be reached: {without_tokens(str(error))}"
        ) from None
    except errors.HfHubHTTPError as error:
        raise HubError(_refused(name, revision, endpoint, error, errors)) from None
    except (OSError, ValueError, RuntimeError, http.HTTPError, TypeError, KeyError) as error:
        # The library checks neither what a server answers nor of what class its own errors are.
        raise HubError(
            f"hf:{name}: the exchange with {endpoint} failed: {type(error).__name__}: "
            f"{without_tokens(str(error.__cause__ or error))}"
        ) from None


class UnreachableHubError(HubError):
    """The Hub gives no answer: there is no network, or it must not be asked."""


def without_password(address: str) -> str:
    """Return an address, or a text with addresses, without users and passwords."""
    return _USER.sub("//", address)


def without_tokens(text: str) -> str:
    """Return the beginning of a text, without what may be a token in it."""
    token = hub_library().get_token()
    plain = text.replace(token, "…") if token else text
    return without_password(_TOKEN.sub("…", " ".join(plain.split())))[:_MOST_LETTERS]


def _refused(name: str, revision: str, endpoint: str, error: Exception, errors: ModuleType) -> str:
    status = error.response.status_code  # type: ignore[attr-defined]
    match error:
        case errors.GatedRepoError():
            where = f"{endpoint}/{name}"
            return f"hf:{name}: is gated: ask its owner for access at {where}, then {_LOG_IN}"
        case errors.DisabledRepoError():
            return f"hf:{name}: was disabled by the Hub; {endpoint}/{name} may say why"
        case errors.RevisionNotFoundError():
            return (
                f"hf:{name}@{revision}: the repository has no such revision; "
                f"{endpoint}/{name}/commits/main lists its commits"
            )
        case errors.RepositoryNotFoundError():
            return (
                f"hf:{name}: the Hub knows no such repository, or it is private. Check the name; "
                f"if it is private, {_LOG_IN}"
            )
    if status in (401, 403):
        return (
            f"hf:{name}: the Hub refuses this ({status}): the token is missing, wrong or may not "
            f"do it; {_LOG_IN}"
        )
    if status == 429:
        return f"hf:{name}: the Hub was asked too often; wait some minutes and try again"
    words = without_tokens(getattr(error, "server_message", None) or "")
    return f"hf:{name}: the Hub answers with status {status}{': ' if words else ''}{words}"
