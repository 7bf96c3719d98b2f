import subprocess
import sys

import pytest

# In a process of its own, for the options stay as they are set.
PROGRAM = """
import resource, sys
import torch
from ecgjepa.model.compute import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def allocate():
    torch.empty(10_000_000).fill_(1.0)  # 40 MB: 10,000 pages
for _ in range(30):  # until every place in use has been touched once
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(argument: str) -> int:
    command = [sys.executable, "-c", PROGRAM, argument]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an option of glibc")
def test_freed_memory_is_used_again_without_page_faults():
    assert page_faults("keep") < 0.02 * page_faults("leave")
