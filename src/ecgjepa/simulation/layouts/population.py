"""What to simulate, and what a layout has to say of itself."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ecgjepa.simulation.heart.patients import Patient, draw_patient
from ecgjepa.simulation.heart.recorder import Tracing
from ecgjepa.simulation.heart.records import trace_visit

# The longest records of a published database are those of St-Petersburg INCART.
LONGEST = 1800.0


class Visit(NamedTuple):
    """One record to be written.

    Attributes:
        number: Number of the record, from 1.
        patient: Whose record it is.
        visit: Visit of the patient, from 0.
    """

    number: int
    patient: Patient
    visit: int


@dataclass(frozen=True)
class Population:
    """What to simulate.

    Attributes:
        records: How many.
        seed: Seed of the population.
        seconds: Length of every record; None for the lengths of the published database.
        rates: Sampling rates in Hz, where a database has files at more than one.
        first_patient: Number of the first patient in the seed's population.
        progress: Called with (records done, records in all).
        tracer: Simulates a visit, as `trace_visit` does.
    """

    records: int
    seed: int
    seconds: float | None = None
    rates: tuple[int, ...] = (500,)
    first_patient: int = 0
    progress: Callable[[int, int], None] | None = None
    tracer: Callable[..., Tracing] = trace_visit

    def visits(self, num_visits: Callable[[int, Patient], int] | None = None) -> Iterator[Visit]:
        """Yield the records to write, and report each as done when the next is asked for.

        Args:
            num_visits: How many visits a patient of a seed makes; by default as many as in PTB-XL.
        """
        everyone = population(self.seed, self.first_patient, num_visits)
        for number, (patient, visit) in enumerate(itertools.islice(everyone, self.records), 1):
            yield Visit(number, patient, visit)
            if self.progress is not None:
                self.progress(number, self.records)

    def trace(
        self, visit: Visit, sampling_rate: int, seconds: float = 10.0, *, drift: float = 0.0
    ) -> Tracing:
        """Simulate a record.

        Args:
            visit: One of `visits`.
            sampling_rate: In Hz.
            seconds: Length, unless the plan asks for another.
            drift: See `trace_visit`.
        """
        num_samples = round((self.seconds or seconds) * sampling_rate)
        return self.tracer(
            self.seed,
            visit.patient,
            visit.visit,
            num_samples=num_samples,
            sampling_rate=float(sampling_rate),
            drift=drift,
        )


class Layout(NamedTuple):
    """How one database lies on disk.

    Attributes:
        title: The database's name in a sentence.
        contents: What is written into the folder, as glob patterns; first what completes it.
        write: Writes a plan into a folder.
        first_patient: See `Population`; no two layouts share a patient.
        most_records: As many as patients and record names suffice for.
        longest: In seconds.
    """

    title: str
    contents: tuple[str, ...]
    write: Callable[[Path, Population], None]
    first_patient: int
    most_records: int = 1_000_000
    longest: float = LONGEST


def population(
    seed: int, first: int = 0, num_visits: Callable[[int, Patient], int] | None = None
) -> Iterator[tuple[Patient, int]]:
    """Yield every record of a population as patient and number of the visit, without end.

    Args:
        seed: Seed of the population.
        first: Number of the first patient.
        num_visits: How many visits a patient of a seed makes; by default as many as in PTB-XL.
    """
    for number in itertools.count(first):
        patient = draw_patient(seed, number)
        if num_visits is not None:
            patient = replace(patient, visits=num_visits(seed, patient))
        for visit in range(patient.visits):
            yield patient, visit
