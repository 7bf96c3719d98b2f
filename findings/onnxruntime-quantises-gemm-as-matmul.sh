#!/bin/sh
# onnxruntime 1.32.0 (Python, quantize_dynamic) with onnx 1.23.2: a model of one MatMul and one Gemm, the
# Gemm named in nodes_to_exclude and missing in op_types_to_quantize.
# Expected: the MatMul alone gets weights of 8 bits.
# Seen: both do. Every Gemm is turned into a MatMul named NAME_MatMul before the operators are chosen
# and before names are compared, so neither the list of operators nor the node's own name keeps it
# (a classifier's last layer, in the files of torch.onnx). Only the new name does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'onnxruntime==1.32.0' 'onnx==1.23.2'
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["x", "first"], ["between"], name="body"),
        helper.make_node("Gemm", ["between", "second"], ["y"], name="head", transB=1),
    ],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 8])],
    [numpy_helper.from_array(weights, name) for name in ("first", "second")],
)
model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
onnx.checker.check_model(model)
found = {}
for kept in ("head", "head_MatMul"):
    quantize_dynamic(model, "q.onnx", op_types_to_quantize=["MatMul"], nodes_to_exclude=[kept])
    nodes = onnx.load("q.onnx").graph.node
    found[kept] = sorted(node.name for node in nodes if node.op_type == "MatMulInteger")
    print("nodes_to_exclude", [kept], "with 8 bits:", found[kept])
assert [len(names) for names in found.values()] == [2, 1], "the behaviour has changed"
PYTHON
