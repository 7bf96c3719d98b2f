"""Models on the Hub, against a local server that answers as the Hub does."""

import logging
import shutil
import sys

import huggingface_hub.constants
import pytest
import yaml
from sharing import hub_server
from tiny_model import save_tiny_model

import ecgjepa
from ecgjepa.cli import main
from ecgjepa.errors import HubError, ModelFolderError
from ecgjepa.model.folder import load_model_folder
from ecgjepa.sharing import hub
from ecgjepa.sharing.hub_cache import cached_models

# huggingface_hub 2.4.0 uploads files by a way of httpx2 that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "clinic/tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub without models; nothing is kept of others, and no token is known."""
    monkeypatch.setenv("ECGJEPA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # Xet storage has a protocol of its own, which the local server does not speak.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "of-others"))
    with hub_server.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def posted(server):
    return [path for method, path in server.requests if method in ("POST", "PUT")]


def test_a_model_is_loaded_by_name_and_pinned_to_its_commit(server, model, caplog):
    commit = server.add(NAME, content_of(model) | {"train.py": b"print()", "x.pkl": b"x"})
    with caplog.at_level(logging.INFO):
        folder = hub.load(NAME)
    assert folder.name == commit
    assert f"hf:{NAME}: commit {commit} (main)" in caplog.messages
    assert content_of(folder).items() >= content_of(model).items()
    assert set(content_of(folder)) == {*content_of(model), "hub.json"}
    load_model_folder(folder)
    # Neither code nor pickles are asked for, and their names are told.
    assert not [path for _, path in server.requests if "train.py" in path or "x.pkl" in path]
    assert any("2 more files" in text and "train.py, x.pkl" in text for text in caplog.messages)
    [found] = cached_models()
    assert (found.name, found.commit, found.revisions) == (NAME, commit, ("main",))
    # A commit that the cache holds needs no network.
    server.requests.clear()
    assert hub.load(NAME, commit) == folder
    assert server.requests == []


def test_a_branch_that_moved_leads_to_its_new_commit(server, model, tmp_path):
    first = server.add(NAME, content_of(model))
    assert hub.load(NAME).name == first
    second = server.add(NAME, content_of(save_tiny_model(tmp_path / "other", seed=1)))
    assert hub.load(NAME).name == second
    assert hub.load(NAME, first).name == first
    assert {one.revisions for one in cached_models()} == {(), ("main",)}


def test_without_network_the_cache_answers_or_tells_why_not(server, model, monkeypatch, caplog):
    commit = server.add(NAME, content_of(model))
    folder = hub.load(NAME)
    server.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.load(NAME) == folder
    assert any(f"commit {commit} of the cache is used" in text for text in caplog.messages)
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set.*cache does not hold it"):
        hub.load(NAME, "v2")
    assert server.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub.load(NAME) == folder
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached"):
        hub.load("clinic/other")
    monkeypatch.setenv("HF_ENDPOINT", "http://me:my-password@127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached") as caught:
        hub.load("clinic/other")
    assert "my-password" not in str(caught.value)


def test_a_changed_file_of_the_cache_is_downloaded_anew(server, model, monkeypatch):
    commit = server.add(NAME, content_of(model))
    weights = hub.load(NAME) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert (
        hub.load(NAME, commit).joinpath("model.safetensors").read_bytes()
        == (model / "model.safetensors").read_bytes()
    )


@pytest.mark.parametrize("file", ["model.safetensors", "README.md"])
def test_bytes_that_are_not_those_the_hub_describes_are_refused(server, model, file):
    server.add(NAME, content_of(model))
    right = content_of(model)[file]
    server.instead[file] = bytes(reversed(right))
    with pytest.raises(HubError, match=rf"{file} is not the file that the Hub describes"):
        hub.load(NAME)
    server.instead[file] = right[:-1]
    with pytest.raises(HubError, match=rf"{file} has .* bytes; the Hub says {len(right):,}"):
        hub.load(NAME)
    assert cached_models() == []


def test_a_file_that_never_ends_is_ended(server, model):
    server.add(NAME, content_of(model))
    server.endless.add("model.safetensors")
    with pytest.raises(HubError, match=r"is longer than the .* bytes that the Hub says"):
        hub.load(NAME)
    assert cached_models() == []


@pytest.mark.parametrize(
    ("file", "size"), [("model.safetensors", 4_000_000_001), ("config.json", 16_000_001)]
)
def test_sizes_are_bounded_before_anything_is_downloaded(server, model, file, size):
    server.add(NAME, content_of(model))
    server.sizes[file] = size
    with pytest.raises(HubError, match=rf"{file} has {size:,} bytes; .*Nothing was downloaded"):
        hub.load(NAME)
    assert not [path for _, path in server.requests if "resolve" in path]


def test_what_is_not_a_model_of_ecgjepa_is_said_to_be_none(server, model):
    server.add(NAME, {"pytorch_model.bin": b"x", "config.json": b"{}"})
    with pytest.raises(HubError, match=r"model.safetensors not found, only config.json, pytorch"):
        hub.load(NAME)
    server.add("other/bert", {"model.safetensors": b"x" * 99, "config.json": b'{"layers": 12}'})
    with pytest.raises(ModelFolderError, match=r"expected JSON with a format_version"):
        hub.load("other/bert")
    assert not [path for _, path in server.requests if "storage" in path]


def test_refusals_say_what_to_do(server, model, monkeypatch):
    with pytest.raises(HubError, match=r"knows no such repository, or it is private"):
        hub.load("clinic/missing")
    server.add(NAME, content_of(model), private=True)
    with pytest.raises(HubError, match=r"private.*hf auth login"):
        hub.load(NAME)
    server.repositories[NAME].private = False
    with pytest.raises(HubError, match=r"hf:clinic/tiny@v9: the repository has no such revision"):
        hub.load(NAME, "v9")
    server.repositories[NAME].gated = True
    with pytest.raises(HubError, match=r"is gated: ask its owner for access at http"):
        hub.load(NAME)
    monkeypatch.setenv("HF_TOKEN", server.token)
    server.tokens.clear()
    server.requests.clear()
    assert hub.load(NAME).is_dir()
    # The large file storage is another host.
    told = {path: token for (_, path), token in zip(server.requests, server.tokens, strict=True)}
    assert {token for path, token in told.items() if path.startswith("/storage")} == {None}
    assert f"Bearer {server.token}" in told.values()


@pytest.mark.parametrize("status", [403, 500])
def test_no_token_is_ever_told(server, monkeypatch, status, caplog):
    monkeypatch.setenv("HF_TOKEN", server.token)
    server.failing = (status, f"what do you want with {server.token}?")
    with pytest.raises(HubError, match=str(status)) as caught:
        hub.load(NAME)
    assert server.tokens[-1] == f"Bearer {server.token}"
    assert server.token not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "name",
    ["tiny", "clinic/tiny/x", "../tiny", "clinic/..", "a--b/c", "/model", "runs/a b", ""],
)
def test_what_cannot_be_a_name_is_refused_before_the_hub_is_asked(server, name):
    with pytest.raises(HubError, match=r"expected hf:owner/name"):
        hub.load(name)
    assert server.requests == []


def test_a_model_is_pushed_with_a_card_and_comes_back_the_same(server, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", server.token)
    pushed = hub.push(model, f"hf:{NAME}", private=True, licence="cc-by-4.0")
    assert pushed.name == f"hf:{NAME}"
    assert (pushed.is_private, server.repositories[NAME].private) == (True, True)
    assert pushed.left_out == ()
    there = server.repositories[NAME].commits[pushed.commit]
    assert set(there) == {"README.md", "config.json", "model.safetensors"}
    _, front, text = there["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "cc-by-4.0",
        "library_name": "ecgjepa",
        "tags": ["ecg", "electrocardiogram", "ecgjepa", "classifier", "jepa"],
        "metrics": ["roc_auc"],
    }
    assert "card" in text
    assert f"ecgjepa predict FOLDER_OF_ECGS --model hf:{NAME}" in text
    folder = hub.load(NAME, pushed.commit)
    for file in ("config.json", "model.safetensors"):
        assert (folder / file).read_bytes() == (model / file).read_bytes()
    assert not [path for path in posted(server) if server.token in path]


def test_pushing_again_removes_what_the_new_model_lacks_and_nothing_else(
    server, model, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_TOKEN", server.token)
    server.add(NAME, content_of(model) | {"distribution.safetensors": b"old", "notes.txt": b"mine"})
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "seen.parquet").write_bytes(b"hashes of records")
    (copy / "README.md").write_text(
        "---\nlicense: mit\n---\n# Mine\n\n## Use\n\nOld.\n\n## Thanks\n\nAll.\n",
        encoding="utf-8",
    )
    pushed = hub.push(copy, NAME)
    assert pushed.left_out == ("seen.parquet",)
    there = server.repositories[NAME].commits[pushed.commit]
    assert set(there) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "notes.txt",
    }
    card = there["README.md"].decode()
    # The licence of the folder's card holds, unless another one is named.
    assert card.startswith("---\nlicense: mit\n")
    assert card.count("license:") == 1
    assert "Old." not in card
    assert "## Thanks" in card
    assert card.count("## Use") == 1


def test_nothing_is_sent_that_should_not_be(server, model, monkeypatch, tmp_path):
    with pytest.raises(HubError, match=r"401.*hf auth login"):
        hub.push(model, NAME)
    monkeypatch.setenv("HF_TOKEN", server.token)
    server.add(NAME, content_of(model))
    with pytest.raises(HubError, match=r"there already and public"):
        hub.push(model, NAME, private=True)
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFolderError, match="damaged or was replaced"):
        hub.push(broken, NAME)
    with pytest.raises(HubError, match="licence 'All rights reserved'"):
        hub.push(model, NAME, licence="All rights reserved")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        hub.push(model, NAME)
    assert not [path for path in posted(server) if "commit" in path]


def test_the_missing_package_is_named_and_a_cached_commit_needs_none(server, model, monkeypatch):
    commit = server.add(NAME, content_of(model))
    folder = hub.load(NAME)
    for name in ("huggingface_hub", "huggingface_hub.constants"):
        monkeypatch.setitem(sys.modules, name, None)
    assert hub.load(NAME, commit) == folder
    with pytest.raises(HubError, match=r"pip install 'ecgjepa\[hub\]'"):
        hub.load(NAME)


def test_every_use_of_a_model_takes_its_name(server, model):
    commit = server.add(NAME, content_of(model))
    for name in (f"hf:{NAME}", f"hf:{NAME}@main", f"hf:{NAME}@{commit}"):
        assert ecgjepa.load_model(name).task.labels == ("A", "B", "C")
    with pytest.raises(HubError, match="no such revision"):
        ecgjepa.load_model(f"hf:{NAME}@v9")


def test_the_command_tells_what_it_did(server, model, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setattr(
        "sys.argv", ["ecgjepa", "push", "--model", str(model), "--to", f"hf:{NAME}"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    commit = server.repositories[NAME].branches["main"]
    assert ended.value.code == 0
    assert f"{server.url}/{NAME} (public), commit {commit}" in told.out
    assert "license: unknown; --license" in told.out
    assert f"--model hf:{NAME}@{commit}" in told.out
    assert server.token not in told.out + told.err
