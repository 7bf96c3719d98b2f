"""One ECG file asked about in every way that a model can be used, for one comparison.

A way is a function of a model folder and a file that returns label to probability. They meet in
`tests/exporting/test_onnx.py`, which has an ONNX file already: tracing one takes seconds.
"""

import json

import numpy as np

import ecgjepa

# What two ways may differ by.
TOLERANCE = 1e-5


def by_command(run, model, file):
    """Ask ``ecgjepa predict --json``; ``run`` calls the command: exit code, stdout, stderr."""
    code, text, message = run("predict", "--model", model, file, "--json")
    assert code == 0, message
    return json.loads(text)[0]["probabilities"]


def by_python(model, file):
    """Ask `ecgjepa.predict`."""
    (found,) = ecgjepa.predict([file], model)
    assert found.error is None
    return found.probabilities


def by_scikit_learn(model, file):
    """Ask the estimator that answers as a trained classifier does."""
    ready = ecgjepa.ECGModelClassifier(model)
    [values] = ready.predict_proba([file])
    return dict(zip(ready.classes_.tolist(), values.tolist(), strict=True))


def by_http(client, file):
    """Ask the service; a WFDB record is sent as its header and its signals."""
    paths = [file, file.with_suffix(".dat")]
    parts = [("files", (path.name, path.read_bytes())) for path in paths]
    answer = client.post("/predict", files=parts)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["predictions"]
    assert found["error"] is None
    return found["probabilities"]


def by_onnx(path, file):
    """Ask an ONNX file about a file that needs nothing but to be read and prepared."""
    import onnxruntime

    from ecgjepa.exporting.agreement import as_input
    from ecgjepa.io import read_record
    from ecgjepa.signals.preprocessing import PreprocessingConfig, prepare_record

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    steps = {step["name"]: step for step in json.loads(about["preprocessing_outside"])}
    config = PreprocessingConfig(
        sampling_rate=float(about["sampling_rate"]),
        leads=tuple(json.loads(about["leads"])),
        highpass_hz=steps.get("highpass", {}).get("cutoff_hz"),
        max_gap_seconds=steps["bridge_gaps"]["max_gap_seconds"],
    )
    samples = prepare_record(read_record(file), config).samples
    unit = {"mV": "mV", "µV": "uV"}[json.loads(about["input"])["unit"]]
    (values,) = session.run(["probabilities"], {"signal": as_input(samples, unit)})
    return dict(zip(json.loads(about["labels"]), values[0].tolist(), strict=True))


def assert_same(answers):
    """Compare answers, named by the way that gave them, with the first one."""
    (first, expected), *others = answers.items()
    for name, found in others:
        assert list(found) == list(expected), f"{name}: other labels than {first}"
        gap = np.abs(np.array(list(found.values())) - np.array(list(expected.values()))).max()
        assert gap <= TOLERANCE, f"{name} differs from {first} by {gap}"
