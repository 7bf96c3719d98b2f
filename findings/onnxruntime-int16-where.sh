#!/bin/sh
# onnxruntime 1.32.0 (Python, CPU) with onnx 1.23.2: int16 samples, the marker of "no sample" replaced.
# Expected: a model that onnx.checker passes, of opset 20 and one Where, can be opened; ONNX allows
# Where for every type, and Equal for int16 works.
# Seen: NOT_IMPLEMENTED "Could not find an implementation for Where(16)" for int16, while int32,
# int64, float and uint8 work. A graph that takes 16-bit samples must turn them into floats before it chooses.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'onnxruntime==1.32.0' 'onnx==1.23.2'
cd "$folder"
venv/bin/python - <<'PYTHON'
import onnx
import onnxruntime
from onnx import TensorProto, helper

found = {}
for name in ("INT16", "INT32", "INT64", "UINT8", "FLOAT"):
    kind = getattr(TensorProto, name)
    graph = helper.make_graph(
        [
            helper.make_node("Equal", ["x", "marker"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "x"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kind, ["samples"])],
        [helper.make_tensor_value_info("y", kind, ["samples"])],
        [helper.make_tensor("marker", kind, [], [1]), helper.make_tensor("zero", kind, [], [0])],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model, full_check=True)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found[name] = "opens"
    except Exception as error:
        found[name] = str(error).split(" : ", 2)[-1][:90]
    print(name, found[name])
assert "Where(16)" in found["INT16"], "the behaviour has changed"
assert found["INT64"] == found["FLOAT"] == found["UINT8"] == "opens", "the behaviour has changed"
PYTHON
