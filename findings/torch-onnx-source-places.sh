#!/bin/sh
# torch 2.13.0 (torch.onnx.export, dynamo) with onnx 1.23.2 and onnxscript 0.7.2: a model to give away.
# Expected: the file holds graph and weights.
# Seen: every operation also holds, as metadata "pkg.torch.onnx.stack_trace", the lines of Python
# that it came from, with the whole path of each source file on the machine of whoever exported it:
# names of users, projects and folders leave with the model. No option of the call leaves them out;
# verbose=False and optimize=True do not. They go if metadata_props of all nodes are deleted.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'torch==2.13.0' 'onnx==1.23.2' 'onnxscript==0.7.2' numpy
mkdir "$folder/private"
cat > "$folder/private/model.py" <<'PYTHON'
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) + 1
PYTHON
cd "$folder"
PYTHONPATH="$folder/private" venv/bin/python - <<'PYTHON'
import onnx
import torch
from model import Model

torch.onnx.export(Model(), (torch.zeros(2, 3),), "m.onnx", dynamo=True, verbose=False)
content = open("m.onnx", "rb").read()
print("path of the source file in the model:", b"private/model.py" in content)
model = onnx.load("m.onnx")
for node in model.graph.node:
    print(node.op_type, sorted(prop.key for prop in node.metadata_props))
    del node.metadata_props[:]
assert b"private/model.py" in content, "the behaviour has changed"
assert b"private/model.py" not in model.SerializeToString(), "the behaviour has changed"
PYTHON
