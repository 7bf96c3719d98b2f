"""What a run will cost, on a terminal."""

from typing import TYPE_CHECKING

from ecgjepa.terminal.screen import as_bytes, as_clock, print_wrapped

if TYPE_CHECKING:  # the terminal must not import torch just to print
    from ecgjepa.planning.plan import Plan


def print_plan(plan: "Plan") -> None:
    """Print what a run costs and what limits it, one paragraph per kind of cost."""
    train, parameters, flops = plan.config.train, plan.parameters, plan.flops
    memory, disk, measured = plan.memory, plan.disk, plan.measured
    facts = {
        plan.preset: f"{train.steps:,} steps of {train.batch_size:,} records in "
        f"{train.gradient_accumulation_steps} part(s), products in {plan.precision}",
        "parameters": f"encoder {parameters.encoder:,}, predictor {parameters.predictor:,}, "
        f"trained {parameters.trained:,}, in memory {parameters.in_memory:,} with moving "
        "averages",
        "operations": f"{flops.total / 1e9:.3g} GFLOP a record: context encoder "
        f"{flops.context_encoder / 1e9:.3g}, target encoder {flops.target_encoder / 1e9:.3g}, "
        f"predictor {flops.predictor / 1e9:.3g}",
        "bytes a record": f"{plan.record_bytes.store:,.0f} from the store, "
        f"{plan.record_bytes.device:,} to the device",
        "memory": f"{as_bytes(memory.total)} on the device: activations "
        f"{as_bytes(memory.activations)}, weights {as_bytes(memory.weights)}, gradients "
        f"{as_bytes(memory.gradients)}, optimizer {as_bytes(memory.optimizer)}",
        "disk": f"{as_bytes(disk.checkpoints)} of checkpoints, {as_bytes(disk.checkpoint)} each"
        + ("" if disk.store is None else f"; the store has {as_bytes(disk.store)}"),
    }
    if plan.draws_per_record is not None:
        facts["each record"] = f"drawn {plan.draws_per_record:,.1f} times on average"
    if measured is not None:
        rates = ", ".join(f"{rate:.2f} {name}" for name, rate in measured.matmul_tflops.items())
        facts["measured"] = (
            f"on {measured.device}, {measured.records_at_once} records at once: matrix products "
            f"{rates} TFLOP/s; training {flops.total / measured.seconds_per_record / 1e12:.3f}"
        )
    if plan.speed is not None:
        facts["time"] = (
            f"{as_clock(plan.speed.seconds)}: {plan.speed.seconds_per_step:.3g} s a step, "
            f"{plan.speed.records_per_second:,.0f} records/s"
        )
    for key, text in {**facts, "limit": plan.limit}.items():
        print_wrapped(key, text)
