"""CODE-15 comes in zip files, which may be damaged or hostile."""

import io
import zipfile

import pytest
from fetching.georgia import contents

from ecgjepa.fetching.fetch import fetch as run


def zipped(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


HDF5 = {f"exams_part{n}.hdf5": bytes([n]) * 5000 for n in range(2)}
ZIPS = {f"exams_part{n}.zip": zipped({f"exams_part{n}.hdf5": bytes([n]) * 5000}) for n in range(2)}


@pytest.fixture
def code_15(server, tmp_path):
    server.publish_zenodo("4916206", ZIPS | {"exams.csv": b"exam_id\n"})

    def fetch_code_15(**options):
        return run("code-15", tmp_path / "c", **({"base_url": server.url} | options))

    return fetch_code_15


def test_code_15_is_fetched_and_unpacked(server, code_15, tmp_path):
    result = code_15()
    assert result.num_fetched == 3
    assert result.unpacked == tuple(HDF5)
    assert contents(tmp_path / "c") == ZIPS | HDF5 | {"exams.csv": b"exam_id\n"}
    assert result.plan.basis == "by the published list"
    assert result.plan.unpacked_bytes > sum(map(len, ZIPS.values()))
    server.requests.clear()
    result = code_15()
    assert (result.num_fetched, result.num_present, result.unpacked) == (0, 3, ())
    assert server.requests == []
    (tmp_path / "c/exams_part1.hdf5").unlink()
    assert code_15().unpacked == ("exams_part1.hdf5",)
    (tmp_path / "c/exams_part0.hdf5").write_bytes(b"x" * 5000)
    assert code_15(recheck=True).unpacked == ("exams_part0.hdf5",)
    assert contents(tmp_path / "c") == ZIPS | HDF5 | {"exams.csv": b"exam_id\n"}


def test_code_15_packed_and_in_part(code_15, tmp_path):
    result = code_15(unpack=False, limit=1)
    assert set(contents(tmp_path / "c")) == {"exams.csv", "exams_part0.zip"}
    assert result.plan.unpacked_bytes == 0


def test_a_corrupted_zip_is_known_by_its_md5(server, code_15):
    path = "/zenodo.org/api/records/4916206/files/exams_part0.zip/content"
    server.faults[path].extend(["corrupt"] * 3)
    result = code_15()
    assert dict(result.failures) == {
        "exams_part0.zip": "its md5 is not the published one, after 3 downloads"
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"../evil": b"x"}), "holds '../evil', which is"),
        (zipped({"/etc/evil": b"x"}), "holds '/etc/evil', which is"),
        (b"no zip", "cannot be unpacked"),
    ],
)
def test_an_unsafe_zip_is_not_unpacked(server, code_15, tmp_path, content, message):
    server.publish_zenodo("4916206", {"exams_part0.zip": content})
    result = code_15()
    assert message in result.failures[0].reason
    assert contents(tmp_path / "c") == {"exams_part0.zip": content}
    assert not (tmp_path / "evil").exists()


def test_links_and_damage_inside_a_zip(server, code_15, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    damaged = zipped({"a.hdf5": b"abcdef" * 100}, zipfile.ZIP_STORED).replace(b"abc", b"abX", 1)
    server.publish_zenodo("4916206", {"link.zip": stream.getvalue(), "damaged.zip": damaged})
    reasons = dict(code_15().failures)
    assert "no plain file" in reasons["link.zip"]
    assert "Bad CRC-32" in reasons["damaged.zip"]
    assert set(contents(tmp_path / "c")) == {"link.zip", "damaged.zip"}
