"""An encoder meets records: features of a record, of its windows or of its patches."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int16, Int64
from torch import Tensor

from ecgjepa.errors import ConfigError, FeatureError, RecordError, RecordFormatError
from ecgjepa.inference.batches import mean_outputs
from ecgjepa.inference.windows import RecordWindows, chunk_size, windows_of
from ecgjepa.model.compute import choose_device
from ecgjepa.model.encoders.encoder import Encoder
from ecgjepa.model.folder import ModelConfig, load_model_folder
from ecgjepa.model.heads import Classifier, check_layers, outputs_of_layers
from ecgjepa.sharing.references import find_model
from ecgjepa.signals.acceptance import Usable

# What one row of features is of.
Pool = Literal["record", "window", "token"]
POOLS: tuple[Pool, ...] = get_args(Pool)
# A block's number from 1, the encoder's output, or the outputs of all blocks side by side.
Layer = int | Literal["last", "all"]
# Of one record: what a day of single patches would take fits into no memory.
MOST_BYTES = 2_000_000_000


class Wanted(NamedTuple):
    """Which features are wanted.

    Attributes:
        pool: A row for each record, window or token.
        layer: Block, counted from 1; ``last`` for the encoder's output, ``all`` for every block.
        leads: Leads to encode; None for all.
    """

    pool: Pool = "record"
    layer: Layer = "last"
    leads: tuple[str, ...] | None = None


class Encoded(NamedTuple):
    """Features of one record.

    Attributes:
        values: A row for the record, or for each window or token in their order.
        starts: Second of the record at which each row's window begins; none of a record.
        tokens: Number of each row's token in its window, from 0; none but of tokens.
    """

    values: Float32[np.ndarray, "rows features"]
    starts: Float64[np.ndarray, " rows"] | None = None
    tokens: Int64[np.ndarray, " rows"] | None = None


class LoadedEncoder(NamedTuple):
    """An encoder ready to use; `load_encoder` makes one.

    Attributes:
        encoder: Its weights, on the device.
        config: What its model folder says.
        device: Where it computes.
        wanted: Features that it gives.
    """

    encoder: Encoder
    config: ModelConfig
    device: torch.device
    wanted: Wanted

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks whose outputs stand side by side in a row; the last one's is the encoder's."""
        depth = len(self.encoder.blocks)
        match self.wanted.layer:
            case "last":
                return (depth,)
            case "all":
                return tuple(range(1, depth + 1))
            case int(number):
                return (number,)

    def names(self) -> list[str]:
        """Return the name of each feature: ``f0``, or ``layer1_f0`` where all layers are wanted."""
        dim = range(self.config.encoder.dim)
        if self.wanted.layer != "all":
            return [f"f{number}" for number in dim]
        return [f"layer{layer}_f{number}" for layer in self.layers for number in dim]

    def encode(
        self, usable: Iterable[tuple[str, Usable | RecordError]]
    ) -> Iterator[tuple[str, Encoded | RecordError]]:
        """Yield the features of each record, or why there are none, in order.

        Raises:
            FeatureError: If features are not finite.
        """
        run = _Run(self)
        found = mean_outputs(run.pieces(usable), run, chunk_size(self.device))
        waiting: list[np.ndarray] = []
        num_done, error = 0, None
        for (file, piece), means in found:
            if isinstance(piece, RecordError):
                yield file, piece
                continue
            assert means is not None, "whatever has windows has features"
            num_done += 1
            if isinstance(means, RecordError):
                error = means
            else:
                waiting.append(means[0].astype(np.float32))
            if num_done == piece.num_pieces:
                yield file, error or self._encoded(file, piece, waiting)
                waiting, num_done, error = [], 0, None

    def _encoded(self, file: str, piece: "_Piece", rows: list[np.ndarray]) -> Encoded:
        # A record's row, a window's, or all tokens of a window behind each other.
        values = np.stack(rows).reshape(-1, len(self.names()))
        if not np.isfinite(values).all():
            raise FeatureError(f"{file}: the encoder gives features that are not finite")
        if self.wanted.pool == "record":
            return Encoded(values)
        starts = np.asarray(piece.starts) / self.config.preprocessing.sampling_rate
        if self.wanted.pool == "window":
            return Encoded(values, starts)
        count = len(values) // len(starts)
        tokens = np.tile(np.arange(count, dtype=np.int64), len(starts))
        return Encoded(values, starts.repeat(count), tokens)


class _Piece(NamedTuple):
    """What becomes one row, or the rows of one window.

    Attributes:
        num_pieces: Pieces of its record.
        starts: First sample of each of the record's windows.
    """

    num_pieces: int
    starts: list[int]


class _Run:
    """The encoder as a function of windows, and records cut into what it is averaged over."""

    def __init__(self, loaded: LoadedEncoder) -> None:
        self._loaded = loaded
        config = loaded.config
        self._registers = config.encoder.num_registers
        self._normaliser = config.normalisation.build().to(loaded.device)
        leads = loaded.wanted.leads
        self._leads = None if leads is None else _lead_numbers(leads, config).to(loaded.device)

    @torch.inference_mode()
    def __call__(self, windows: Int16[Tensor, "windows size leads"]) -> tuple[Tensor]:
        loaded = self._loaded
        signal = self._normaliser(windows.to(loaded.device))
        if loaded.wanted.layer == "last":
            outputs = [loaded.encoder(signal, leads=self._leads)]
        else:
            outputs = outputs_of_layers(loaded.encoder, signal, loaded.layers, self._leads)
        tokens = torch.cat([output[:, self._registers :] for output in outputs], dim=2)
        is_mean = loaded.wanted.pool != "token"
        return (tokens.mean(dim=1) if is_mean else tokens.flatten(start_dim=1),)

    def pieces(
        self, usable: Iterable[tuple[str, Usable | RecordError]]
    ) -> Iterator[tuple[tuple[str, _Piece | RecordError], RecordWindows | None]]:
        """Yield records as `mean_outputs` takes them: whole, or window by window."""
        for file, found in usable:
            windows = None
            if not isinstance(found, RecordError):
                windows = windows_of(found.prepared, self._loaded.config)[0]
                found = self._too_large(file, windows) or found
            if isinstance(found, RecordError) or windows is None:
                assert isinstance(found, RecordError), "whatever is usable has windows"
                yield (file, found), None
            elif self._loaded.wanted.pool == "record":
                yield (file, _Piece(1, windows.starts)), windows
            else:
                piece = _Piece(len(windows), windows.starts)
                for start in windows.starts:
                    yield (file, piece), RecordWindows(windows.samples, [start], windows.size)

    def _too_large(self, file: str, windows: RecordWindows) -> RecordFormatError | None:
        """Return an error if the rows of one record would fill the memory."""
        loaded = self._loaded
        encoder, pool = loaded.config.encoder, loaded.wanted.pool
        leads = len(loaded.wanted.leads or loaded.config.preprocessing.leads)
        per_window = windows.size // encoder.patch_size * (leads if encoder.lead_patches else 1)
        rows = len(windows) * (per_window if pool == "token" else 1)
        num_bytes = 4 * rows * len(loaded.layers) * encoder.dim
        if pool == "record" or num_bytes <= MOST_BYTES:
            return None
        return RecordFormatError(
            f"{file}: {rows:,} rows, one a {pool}, would take {num_bytes / 1e9:.1f} GB; expected "
            f"at most {MOST_BYTES / 1e9:.1f} GB of a record. Choose a coarser pool, or one layer",
            reason="too_many_rows",
        )


def load_encoder(
    folder: str | Path, wanted: Wanted | None = None, *, device: str = "auto"
) -> LoadedEncoder:
    """Load an encoder from a model folder, or from the folder of a run, probe or fine-tuning.

    Raises:
        ModelFolderError: If it is damaged.
        ConfigError: If the encoder cannot give the features that are wanted.
    """
    wanted = wanted or Wanted()
    if wanted.pool not in POOLS:
        raise ConfigError(f"pool is {wanted.pool!r}; expected {', '.join(POOLS)}")
    model, config = load_model_folder(find_model(folder))
    encoder = model.encoder if isinstance(model, Classifier) else model
    if isinstance(wanted.layer, int):
        check_layers((wanted.layer,), len(encoder.blocks))
    elif wanted.layer not in ("last", "all"):
        raise ConfigError(f"layer is {wanted.layer!r}; expected a number from 1, last or all")
    if wanted.leads is not None:
        _lead_numbers(wanted.leads, config)
    where = choose_device(device)
    return LoadedEncoder(encoder.to(where), config, where, wanted)


def _lead_numbers(leads: Sequence[str], config: ModelConfig) -> torch.Tensor:
    if not config.encoder.lead_patches:
        raise ConfigError(
            "leads: this encoder's patches span all leads, so it cannot encode some of them; that "
            "takes one pre-trained with encoder.lead_patches=true"
        )
    known = config.preprocessing.leads
    unknown = [lead for lead in leads if lead not in known]
    if unknown or not leads or len(set(leads)) < len(leads):
        raise ConfigError(
            f"leads {', '.join(leads) or '(none)'}: expected some of {', '.join(known)}, each once"
        )
    return torch.tensor([[known.index(lead) for lead in leads]])
