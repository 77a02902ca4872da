"""Exports a checkpoint to ONNX: folds batch norms, optionally quantizes to 8 bits, verifies, writes model.json."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from monitor.detect.fingerprint import NETWORK_NAME, Card, write_card
from monitor.detect.spectrum import BANDS, SPECTRA
from monitor.training.errors import TrainingError
from monitor.training.model import Encoder
from monitor.training.train import averaged

log = structlog.get_logger(__name__)
Floats = NDArray[np.float32]

VERSION = "naf-3"
OPSET = 18
MAX_DIFFERENCE = 1e-4  # of any output, between the trained network and its ONNX form
MIN_COSINE = 0.98  # between an image's vectors in 8 and in 32 bits
OUTLIER_SHARE = 0.002  # of the images, such as a click in silence, may have a lower cosine
CALIBRATION_IMAGES = 64  # per batch


def export(
    checkpoint: Path,
    folder: Path,
    training: dict[str, Any],
    scores: dict[str, Any],
    calibration: Floats | None = None,
) -> Card:
    """Writes the averaged weights of a checkpoint to `folder`, and model.json with `training` and `scores`.

    calibration: typical images, float32 (n, BANDS, SPECTRA). If given, the convolutions are quantized to 8 bits, which
        makes them three times as fast.

    Raises:
        TrainingError: there is no checkpoint, or onnxruntime's outputs differ from those of the trained network.
    """
    model, step = averaged(checkpoint)
    fold(model)
    folder.mkdir(parents=True, exist_ok=True)
    network = _to_onnx(model)
    difference = _difference(model, network)
    if difference > MAX_DIFFERENCE:
        raise TrainingError(
            f"the exported network's outputs differ by {difference:.1e}: use other versions of torch and onnx"
        )
    if calibration is not None:
        network = quantize(network, calibration)
    training |= {"steps": step, "precision": "float32" if calibration is None else "int8"}
    (folder / NETWORK_NAME).write_bytes(network)
    digest = hashlib.sha256(network).hexdigest()
    card = Card(VERSION, digest, model.shape.dimensions, training, scores)
    write_card(folder, card)
    log.info("export.written", bytes=len(network), sha256=digest[:12], difference=f"{difference:.1e}", step=step)
    return card


def fold(module: nn.Module) -> None:
    """Merges each batch norm into the convolution before it, in place."""
    for child in module.children():
        fold(child)
    if isinstance(module, nn.Sequential):
        layers: list[nn.Module] = []
        for layer in module:
            if isinstance(layer, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
            else:
                layers.append(layer)
        for name in list(module._modules):
            delattr(module, name)
        for i, layer in enumerate(layers):
            module.add_module(str(i), layer)


def _to_onnx(model: Encoder) -> bytes:
    images = torch.zeros(2, BANDS, SPECTRA)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    program = torch.onnx.export(
        model.to(memory_format=torch.contiguous_format),
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["vectors"],
        opset_version=OPSET,
        dynamic_shapes={"images": {0: batch}},
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise TrainingError("torch returned no ONNX program: install onnx and onnxscript")
    serialized: bytes = program.model_proto.SerializeToString()
    return serialized


def quantize(network: bytes, images: Floats) -> bytes:
    """Quantizes the convolutions of a network to 8 bits, with ranges from its activations on the images.

    Weights use only 7 bits, so that processors without VNNI do not overflow and give different vectors.

    Raises:
        TrainingError: the quantized network's vectors differ too much.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="airtrace-") as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(network)
        quantize_static(
            before,
            after,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu", "Add"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        small = after.read_bytes()
    cosines = np.einsum("ij,ij->i", _run(network, images), _run(small, images))
    log.info("export.quantized", bytes=len(small), min_cosine=float(cosines.min()), cosine_mean=float(cosines.mean()))
    minimum = float(np.quantile(cosines, OUTLIER_SHARE))
    if minimum < MIN_COSINE:
        raise TrainingError(
            f"quantization lowers a vector's cosine with itself to {minimum:.3f}: calibrate with more images"
        )
    return small


class _Calibration:
    """Images for onnxruntime's quantizer."""

    def __init__(self, images: Floats) -> None:
        self._parts = iter([images[i : i + CALIBRATION_IMAGES] for i in range(0, len(images), CALIBRATION_IMAGES)])

    def get_next(self) -> dict[str, Floats] | None:
        """The next batch of images, or None after the last."""
        part = next(self._parts, None)
        return None if part is None else {"images": part}


def _run(network: bytes, images: Floats) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    vectors: Floats = session.run(None, {"images": images})[0]
    return vectors


def _difference(model: Encoder, network: bytes) -> float:
    """The largest difference of any output between the two networks, on images of noise."""
    images = np.random.default_rng(0).standard_normal((65, BANDS, SPECTRA)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    return float(np.abs(_run(network, images) - expected).max())
