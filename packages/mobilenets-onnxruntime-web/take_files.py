"""Copy what the page loads from node_modules into the distribution's data folder.

A browser loads one pair of .mjs and .wasm: that of wasm (14 MB), or of WebGPU where the user asks.
"""

import json
import shutil
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE / "node_modules" / "onnxruntime-web"
DATA = HERE / "mobilenets_onnxruntime_web" / "data"
NAMES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)

shutil.rmtree(DATA, ignore_errors=True)
DATA.mkdir()
for name in NAMES:
    shutil.copyfile(PACKAGE / "dist" / name, DATA / name)
(DATA / "VERSION").write_text(json.loads((PACKAGE / "package.json").read_text())["version"] + "\n")
