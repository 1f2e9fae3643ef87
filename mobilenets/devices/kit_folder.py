"""The files of a kit beside its networks: the worker, run.sh, README and plan.json."""

from __future__ import annotations

import json
from pathlib import Path

from mobilenets.devices.worker_file import OLDEST_PYTHON_OF_KITS, kit_file
from mobilenets.errors import FileError, MeasureError
from mobilenets.files import remove_folder, write_bytes, write_text
from mobilenets.measuring.results import JOURNAL, PLAN, RESULTS, Plan, keep_plan
from mobilenets.runtimes import RUNTIMES, Engine
