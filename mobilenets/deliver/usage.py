"""How an artifact is used: by this package's commands, and by a program that has only its runtime.

Each program is run by a test, on a photograph, without this package (but for PyTorch's).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenets.archs import Arch
from mobilenets.data import Preprocess
from mobilenets.data.read import MAX_RATIO
from mobilenets.deliver.present import Presenter
from mobilenets.runtimes.artifact import artifact_name, files_of

# `read_image` in a few lines: a test holds that they give the same pixels for every mode.
_READ = '''from contextlib import suppress
from PIL import Image, ImageOps


def read(path):
    """The picture in RGB: the first frame, upright, on white, deep grey from low to high."""
    with Image.open(path) as photo:
        assert max(photo.size) <= MAX_RATIO * min(photo.size), f"{path} is too thin: {photo.size}"
        photo.load()
        with suppress(Exception):  # EXIF that cannot be parsed
            ImageOps.exif_transpose(photo, in_place=True)
        if photo.mode[0] in "IF":  # 16-bit, 32-bit or float grey
            low, high = GREY_RANGE
            values = numpy.array(photo)
            grey = (values.astype(numpy.float32) - low) * (255 / (high - low))
            grey[values == photo.info.get("transparency")] = 255
            grey = numpy.rint(numpy.nan_to_num(grey.clip(0, 255)))
            photo = Image.fromarray(grey.astype(numpy.uint8))
        elif photo.has_transparency_data:
            photo = photo.convert("RGBA")
            photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
        return photo.convert("RGB")


photo = read("photo.jpg")
'''
_RESIZE_SQUARE = "size = [SHORT_SIDE * side // min(photo.size) for side in photo.size]\n"
_RESIZE = """scale = max(WIDE / photo.width, TALL / photo.height)
size = [max(WIDE, round(photo.width * scale)), max(TALL, round(photo.height * scale))]
"""
_STRETCH = "size = WIDE, TALL\n"
_CROP = """left, top = round((size[0] - COLUMNS) / 2), round((size[1] - ROWS) / 2)
photo = photo.resize(size, Image.Resampling.MODE)
photo = photo.crop((left, top, left + COLUMNS, top + ROWS))
"""
_PHOTO = f"{_READ}RESIZING{_CROP}"
_NCHW = "pixels = numpy.asarray(photo, numpy.float32).transpose(2, 0, 1)[None] / 255\n"
_NHWC = "pixels = numpy.asarray(photo, numpy.float32)[None] / 255\n"
_PRINT = "PRINT"  # the task's own part

_ONNXRUNTIME = f"""import json, numpy, onnxruntime
{_PHOTO}{_NCHW}
session = onnxruntime.InferenceSession("model.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["mobilenets"])
NAMES = session.run(None, {{"image": pixels}})
{_PRINT}"""

_OPENVINO = f"""import json, numpy, openvino
{_PHOTO}{_NCHW}
model = openvino.Core().read_model("model.xml")
about = json.loads(model.get_rt_info(["mobilenets"]).astype(str))
network = openvino.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
NAMES = network(pixels).values()
{_PRINT}"""

_LITERT = f"""import json, numpy
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import Model
{_PHOTO}{_NHWC}
content = open("model.tflite", "rb").read()
model = Model.GetRootAs(content)
entries = [model.Metadata(index) for index in range(model.MetadataLength())]
(entry,) = [entry for entry in entries if entry.Name() == b"mobilenets"]
about = json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())

network = Interpreter(model_content=content)
network.allocate_tensors()
network.set_tensor(network.get_input_details()[0]["index"], pixels)
network.invoke()
found = network.get_output_details()
NAMES = (network.get_tensor(one["index"]) for one in found)
{_PRINT}"""

_EXECUTORCH = f"""import json, numpy, torch
from executorch.runtime import Runtime
{_PHOTO}{_NCHW}
program = Runtime.get().load_program("model.pte")
about = json.loads(program.load_method("mobilenets").execute([])[0])
image = torch.from_numpy(numpy.ascontiguousarray(pixels))
NAMES = program.load_method("forward").execute([image])
{_PRINT}"""

_NCNN = f"""import json, ncnn, numpy
{_PHOTO}{_NCHW}
about = json.load(open("model.ncnn.json", encoding="utf-8"))
network = ncnn.Net()
network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
network.opt.use_fp16_arithmetic = network.opt.use_bf16_storage = False
network.load_param("model.ncnn.param")
network.load_model("model.ncnn.bin")
extractor = network.create_extractor()
extractor.input(network.input_names()[0], ncnn.Mat(numpy.ascontiguousarray(pixels[0])))
NAMES = (numpy.array(extractor.extract(name)[1]) for name in network.output_names())
{_PRINT}"""

_TORCH = """from pathlib import Path
from mobilenets.deliver import load

for found in load("model.safetensors").predict([Path("photo.jpg")]):
    print(FOUND)"""

_PROGRAMS = {
    "torch": _TORCH,
    "torch-compile": _TORCH,
    "onnxruntime": _ONNXRUNTIME,
    "openvino": _OPENVINO,
    "litert": _LITERT,
    "executorch": _EXECUTORCH,
    "ncnn": _NCNN,
}
# Hugging Face's names of libraries, by the suffix of the artifact.
_LIBRARIES = {
    ".safetensors": "pytorch",
    ".onnx": "onnx",
    ".xml": "openvino",
    ".tflite": "litert",
    ".pte": "executorch",
    ".param": "ncnn",
}
# Where the labels and the rule are, by the suffix; for all others, in the file's metadata.
_BESIDE = {".param": ".json"}


def commands(runtime: str) -> str:
    """What this package's commands do with the artifact."""
    name = artifact_name(runtime)
    return "\n".join(
        [
            f"mobilenets predict {name} photo.jpg",
            f"mobilenets eval {name} DATA",
            f"mobilenets latency {name}",
        ]
    )


def snippet(
    preprocess: Preprocess, runtime: str, presenter: Presenter, outputs: Sequence[str]
) -> str:
    """A Python program that uses the artifact, which gives these outputs, with its runtime
    alone."""
    rows, columns = preprocess.size
    tall, wide = preprocess.covered
    words = {
        "RESIZING": _resizing_lines(preprocess),
        "MAX_RATIO": MAX_RATIO,
        "GREY_RANGE": preprocess.grey_range or '(0, 1) if photo.mode == "F" else (0, 65535)',
        "SHORT_SIDE": preprocess.short_side,
        "WIDE": wide,
        "TALL": tall,
        "COLUMNS": columns,
        "ROWS": rows,
        "NAMES": f"({outputs[0]},)" if len(outputs) == 1 else ", ".join(outputs),
        "MODE": preprocess.interpolation.upper(),
        _PRINT: presenter.prints,
        "FOUND": presenter.prints_found,
    }
    program = _PROGRAMS[runtime]
    for name, word in words.items():
        program = program.replace(name, str(word))
    return program


def _resizing_lines(preprocess: Preprocess) -> str:
    if preprocess.resize == "stretch":
        return _STRETCH
    return _RESIZE_SQUARE if preprocess.size.height == preprocess.size.width else _RESIZE


def needs_package(runtime: str) -> bool:
    """Whether the artifact can only be used with this package: PyTorch's is a checkpoint."""
    return _PROGRAMS[runtime] is _TORCH


def library(runtime: str) -> str:
    """The artifact's library, as model hubs call it."""
    return _LIBRARIES[Path(artifact_name(runtime)).suffix]


def contract(arch: Arch, preprocess: Preprocess, runtime: str) -> str:
    """What the artifact takes and gives."""
    path = Path(artifact_name(runtime))
    beside = [file.name for file in files_of(path) if file != path]
    together = f", with {' and '.join(beside)} beside it," if beside else ""
    side = f"{preprocess.size.height} x {preprocess.size.width}"
    shape = f"1 x {side} x 3 (NHWC)" if runtime == "litert" else f"1 x 3 x {side} (NCHW)"
    where = _BESIDE.get(path.suffix)
    return (
        f"{path.name}{together} takes an image, float32 RGB in [0, 1], {shape}, and gives "
        f"{_shapes(arch)}; normalization is inside the graph. {resizing(preprocess)} "
        f"{_reading(preprocess)} Labels, this rule and the architecture are in "
        f"{path.with_suffix(where).name if where else 'the metadata of the file'}."
    )


def _shapes(arch: Arch) -> str:
    """Its outputs: "logits, 1 x 10"."""
    return " and ".join(
        f"{name}, {' x '.join(map(str, (1, *shape)))}" for name, shape in arch.outputs.items()
    )


def resizing(preprocess: Preprocess) -> str:
    """`Preprocess` in words."""
    how = f"({preprocess.interpolation}, antialiased, as Pillow does)"
    rows, columns = preprocess.size
    tall, wide = preprocess.covered
    if preprocess.resize == "stretch":
        crop = f" and crop the centre, {rows} x {columns}" * ((tall, wide) != (rows, columns))
        return f"Resize the whole image to {tall} x {wide} pixels, in any aspect ratio {how}{crop}."
    if rows == columns:
        return (
            f"Resize the short side to {preprocess.short_side} pixels {how} and crop the centre "
            f"square of {rows}."
        )
    return (
        f"Resize until the image covers {tall} x {wide} pixels {how} and crop the centre, "
        f"{rows} x {columns}."
    )


def _reading(preprocess: Preprocess) -> str:
    """`read_image` in words."""
    grey = "16-bit grey is black at 0 and white at 65535, float grey at 0 and 1"
    if preprocess.grey_range is not None:
        low, high = preprocess.grey_range
        grey = f"16-bit, 32-bit and float grey is black at {low:g} and white at {high:g}"
    return (
        "Read the first frame, apply its EXIF orientation, put white behind transparent parts and "
        f"ignore the colour profile; {grey}."
    )
