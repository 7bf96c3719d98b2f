"""`embed_table`: whatever a user names in, features of any number of records out."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ecgjepa.errors import ConfigError, OutputError, RecordError
from ecgjepa.inference.encoding import Encoded, Layer, LoadedEncoder, Pool, Wanted, load_encoder
from ecgjepa.inference.inputs.records import Inputs
from ecgjepa.inference.outputs.arrays import SUFFIXES, Layout, merge, write_part
from ecgjepa.inference.outputs.finished import failures_of, number_of_inputs
from ecgjepa.inference.outputs.growing import grown
from ecgjepa.inference.outputs.parts import own_files
from ecgjepa.inference.outputs.requests import (
    PART_INPUTS,
    Progress,
    as_inputs,
    check_suffix,
    describe_request,
    hash_of_description,
    in_parts,
)
from ecgjepa.inference.outputs.reusing import read_ids, reuse
from ecgjepa.inference.outputs.working import Course, Making, fulfil, telling
from ecgjepa.inference.outputs.written import Failure, Written
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import OnBad, Usable

DataType = Literal["float32", "float16"]
DATA_TYPES: tuple[DataType, ...] = get_args(DataType)
_LEVELS = {"record": 1, "window": 2, "token": 3}


def embed_table(
    inputs: Iterable[str | Path] | str | Path | Inputs,
    model: str | Path,
    out: str | Path,
    *,
    pool: Pool = "record",
    layer: Layer = "last",
    leads: Sequence[str] | None = None,
    dtype: DataType = "float32",
    on_bad: OnBad = "skip",
    description: str | Path | None = None,
    device: str = "auto",
    restart: bool = False,
    overwrite: bool = False,
    part_inputs: int = PART_INPUTS,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write an encoder's features of every record; a killed run resumes.

    As a table of predictions, a finished output grows by the records that are new among the inputs.
    Records that cannot be used have no row; the summary beside the output lists each with its
    reason. See `ecgjepa.predict_table` for parts and resuming, `ecgjepa.inference.outputs.arrays`
    for the formats.

    Args:
        inputs: Files, folders, patterns, lists and prepared stores, see
            `ecgjepa.inference.inputs.named`.
        model: Model folder, or the folder of a run, probe or fine-tuning that holds one.
        out: File to write: ``.parquet``, ``.npz`` or ``.npy``.
        pool: A row for each ``record``, ``window`` or ``token``; see `ecgjepa.embed`.
        layer: ``last``, ``all`` or a block's number; see `ecgjepa.embed`.
        leads: Leads to encode; see `ecgjepa.embed`.
        dtype: ``float32`` or ``float16``.
        on_bad: ``skip``, ``mask`` or ``raise``; see `ecgjepa.embed`.
        description: File that describes arrays and tables; None for those beside them.
        device: ``auto``, ``cpu`` or ``cuda``.
        restart: Begin anew, whatever a killed or finished run of this request has left.
        overwrite: Replace a finished output, whatever it is of.
        part_inputs: Records of a part, at most.
        workers: See `ecgjepa.predict_table`.
        progress: Called with the number of records that are done, and of all.

    Returns:
        Where the output is, and which records have no row.

    Raises:
        InputError: If nothing is named.
        OutputError: If the output is another request's, or being written.
        ModelFolderError: If the model cannot be used.
        ConfigError: If the model cannot encode these leads, or has no such layer.
        RecordError: With ``on_bad="raise"``.

    Example:
        >>> import ecgjepa
        >>> written = ecgjepa.embed_table("data/ptb-xl/records500", "runs/jepa", "features.npz")
        >>> written.num_rows == written.num_used
        True
    """
    out = Path(out)
    check_suffix(out, SUFFIXES)
    if dtype not in DATA_TYPES:
        raise ConfigError(f"dtype is {dtype!r}; expected {' or '.join(DATA_TYPES)}")
    found = as_inputs(inputs, own_files(out), description)
    wanted = Wanted(pool, layer, None if leads is None else tuple(leads))
    loaded = load_encoder(model, wanted, device=device)
    layout = _layout(loaded, dtype)
    found, start = grown(out, found, partial(_names_in, out, layout), partial(reuse, out, layout))
    request = describe_request(
        "embed",
        find_model(model),
        found,
        **wanted._asdict(),
        dtype=dtype,
        on_bad=on_bad,
        description=hash_of_description(description),
    )
    options = _Options(dtype, on_bad, description)
    try:
        return fulfil(
            request,
            found,
            out,
            _Encoder(find_model(model), request["model_sha256"], wanted, device, options).make,
            Course(restart, overwrite, part_inputs, workers, progress),
            lambda parts: parts.finish(partial(merge, out=out, layout=layout), found.notices),
            start,
        )
    finally:
        _loaded.cache_clear()


def _names_in(out: Path, layout: Layout) -> list[str]:
    """Return the inputs of a finished output in their order, those without a row among them.

    None are returned if that is not known, as of older versions.
    """
    try:
        failed = {failure.place: failure.file for failure in failures_of(out)}
        files, total = read_ids(out, layout).files, number_of_inputs(out)
    except (OutputError, KeyError, TypeError, ValueError):
        return []  # That the output is another one, or damaged, is found when it is looked at.
    places = {place for place in failed if place is not None and 0 <= place < total}
    if len(places) < len(failed) or len(files) + len(failed) != total:
        return []
    used = iter(files)
    return [failed[place] if place in places else next(used) for place in range(total)]


def _layout(loaded: LoadedEncoder, dtype: DataType) -> Layout:
    levels = ("file", "start", "token")[: _LEVELS[loaded.wanted.pool]]
    return Layout(loaded.names(), levels, np.dtype(dtype).newbyteorder("<"))


def _encoded(
    loaded: LoadedEncoder, usable: Iterator[tuple[str, Usable | RecordError]], on_bad: OnBad
) -> Iterator[tuple[str, Encoded | RecordError]]:
    for file, each in loaded.encode(usable):
        if isinstance(each, RecordError) and on_bad == "raise":
            raise each
        yield file, each


class _Options(NamedTuple):
    """What is done with what an encoder returns, and with what it cannot encode."""

    dtype: DataType
    on_bad: OnBad
    description: str | Path | None


class _Encoder(NamedTuple):
    """Makes parts of a table of features."""

    model: Path
    sha256: str
    wanted: Wanted
    device: str
    options: _Options

    def make(self, inputs: Inputs, how: Making) -> None:
        """Encode some records."""
        loaded = _loaded(self.model, self.sha256, self.wanted, self.device)
        on_bad = self.options.on_bad
        usable = inputs.usable(
            loaded.config.preprocessing,
            sets=() if self.wanted.leads is None else (self.wanted.leads,),
            on_bad=on_bad,
            description=self.options.description,
        )
        rows = telling(_encoded(loaded, usable, on_bad), how.tell)
        layout, first = _layout(loaded, self.options.dtype), how.first
        for some in in_parts(rows, _num_bytes, how.most, how.seconds):
            good = [(file, each) for file, each in some if not isinstance(each, RecordError)]
            failures = [
                Failure(file, each.reason, str(each), place)
                for place, (file, each) in enumerate(some, start=first)
                if isinstance(each, RecordError)
            ]
            num_rows = sum(len(each.values) for _, each in good)
            write = partial(write_part, good, layout)
            how.parts.add(first, len(some), num_rows, failures, write)
            first += len(some)


@lru_cache(maxsize=1)
def _loaded(folder: Path, sha256: str, wanted: Wanted, device: str) -> LoadedEncoder:
    """Return an encoder; a worker loads it once, and again when its folder holds another."""
    return load_encoder(folder, wanted, device=device)


def _num_bytes(row: tuple[str, Encoded | RecordError]) -> int:
    return 0 if isinstance(row[1], RecordError) else row[1].values.nbytes
