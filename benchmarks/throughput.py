"""Records per second of every stage on this machine: simulate, read, prepare, mask, batch, train.

    python benchmarks/throughput.py [--result benchmarks/results/NAME.json]

All in one run, on simulated ECGs of ten seconds at 500 Hz, the best of three; run it on an idle
machine. Simulating and preparing use one core; batches are read by threads, the last rows use all.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import machine

import ecgjepa
from ecgjepa.config import PretrainConfig, load_preset
from ecgjepa.io import read_record
from ecgjepa.model.compute import autocast, choose_device
from ecgjepa.model.normalisation import Normaliser
from ecgjepa.objectives.build import objective_of
from ecgjepa.pretraining.loop import initial_networks
from ecgjepa.pretraining.optim import build_optimizer
from ecgjepa.sampling.batches import BatchReader, normalisation_tables
from ecgjepa.sampling.masking import sample_masks
from ecgjepa.sampling.mixture import masks_rng
from ecgjepa.simulation.heart.records import trace_visit
from ecgjepa.simulation.layouts.population import population
from ecgjepa.store.reading import Store

RECORDS = 600
REPEATS = 3
rate = partial(machine.rate, repeats=REPEATS)


def simulate_signals() -> None:
    """Simulate as `ecgjepa.simulate` does, without writing."""
    for patient, visit in islice(population(0), RECORDS):
        trace_visit(0, patient, visit)


def pretraining_step(store: Store, config: PretrainConfig) -> Callable[[], None]:
    """Return a function that does one whole step: read, forward, backward, update."""
    device = choose_device("auto")
    jepa = initial_networks(config).to(device)
    optimizer = build_optimizer(jepa, config.train)
    normalise = Normaliser(*normalisation_tables(store), clip=config.data.clip).to(device)
    reader = BatchReader(store, config, objective_of(config).draw)

    def step() -> None:
        batch = reader.read(0, 0).to(device)
        with autocast(device, config.train.precision):
            output = jepa(normalise(batch.signal, batch.database), *batch.inputs)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        jepa.update_target(0.99)
        output.loss.item()

    return step


def measure(folder: Path) -> dict[str, float]:
    """Return records per second by stage."""
    rates = {"simulate, signals only": rate(RECORDS, simulate_signals)}
    source = folder / "ptb-xl"
    rates["simulate, with files"] = rate(RECORDS, lambda: ecgjepa.simulate(RECORDS, source))
    headers = sorted(source.rglob("*.hea"))
    rates["read WFDB files"] = rate(RECORDS, lambda: [read_record(path) for path in headers])
    copies = iter(range(2 * REPEATS))
    for hertz in (500, 100):
        preprocessing = ecgjepa.PreprocessingConfig(sampling_rate=hertz)
        rates[f"prepare at {hertz} Hz"] = rate(
            RECORDS,
            lambda given=preprocessing: ecgjepa.prepare(  # type: ignore[misc]
                {"ptb-xl": source}, folder / f"store-{next(copies)}", folds="all",
                preprocessing=given,
            ),
        )  # fmt: skip
    paper, tiny = load_preset("paper-vit-s-ptbxl"), load_preset("tiny")
    rates["masks, 200 patches"] = rate(
        20 * 512,
        lambda: [
            sample_masks(paper.mask, masks_rng(0, step), batch_size=512, num_patches=200)
            for step in range(20)
        ],
    )
    for name, config, path in (("paper", paper, "store-0"), ("tiny", tiny, f"store-{REPEATS}")):
        size = config.train.batch_size // config.train.gradient_accumulation_steps
        with Store(folder / path) as store:
            reader = BatchReader(store, config, objective_of(config).draw)
            rates[f"batches of {name}"] = rate(
                size * 5, lambda given=reader: [given.read(step, 0) for step in range(5)]  # type: ignore[misc]
            )  # fmt: skip
    with Store(folder / f"store-{REPEATS}") as store:
        step = pretraining_step(store, tiny)
        step()
        rates["pre-training steps of tiny"] = rate(
            tiny.train.batch_size * 20, lambda: [step() for _ in range(20)]
        )
    return rates


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder))
    for name, value in rates.items():
        print(f"{name:<30}{value:>12,.0f} records/s")
    machine.report(
        options.result,
        {"records_per_second": {name: round(value) for name, value in rates.items()}},
    )


if __name__ == "__main__":
    main()
