"""WFDB records: a header and its signal files, the format of PhysioNet."""

from ecgjepa.io.wfdb.calibration import header_issues as header_issues
from ecgjepa.io.wfdb.long import open_wfdb as open_wfdb
from ecgjepa.io.wfdb.records import read_described as read_described
from ecgjepa.io.wfdb.records import read_wfdb_exact as read_wfdb_exact
from ecgjepa.io.wfdb.samples import DAMAGED as DAMAGED
from ecgjepa.io.wfdb.samples import Damaged as Damaged
