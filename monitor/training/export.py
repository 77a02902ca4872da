"""Checkpoint to shipped weights: batch norms folded, ONNX, perhaps 8 bit, compared, described in model.json."""

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
MAX_DIFFERENCE = 1e-4  # of any number, between the network that was trained and its ONNX
MIN_COSINE = 0.98  # of any vector in 8 bit with itself in 32
ODD_SHARE = 0.002  # of the images may be so odd, a click in silence, that they come out otherwise
CALIBRATION_IMAGES = 64  # at a time


def export(
    checkpoint: Path,
    folder: Path,
    training: dict[str, Any],
    scores: dict[str, Any],
    calibration: Floats | None = None,
) -> Card:
    """Writes the averaged weights of a checkpoint to `folder`.

    calibration: images as they are heard; with them the convolutions are exported in 8 bit, at three times the speed.

    Raises:
        TrainingError: there is no checkpoint, or what onnxruntime makes of the weights differs.
    """
    model, step = averaged(checkpoint)
    fold(model)
    folder.mkdir(parents=True, exist_ok=True)
    network = _to_onnx(model)
    difference = _difference(model, network)
    if difference > MAX_DIFFERENCE:
        raise TrainingError(f"the exported network differs by {difference:.1e}: use other versions of torch and onnx")
    if calibration is not None:
        network = quantised(network, calibration)
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
        raise TrainingError("torch gave no ONNX program: install onnx and onnxscript")
    serialised: bytes = program.model_proto.SerializeToString()
    return serialised


def quantised(network: bytes, images: Floats) -> bytes:
    """The network with convolutions in 8 bit, their ranges taken from what the images make them carry.

    Weights use 7 bit, so that processors without VNNI cannot overflow and give other vectors.

    Raises:
        TrainingError: it has become another network.
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
    log.info("export.quantised", bytes=len(small), min_cosine=float(cosines.min()), cosine_mean=float(cosines.mean()))
    minimum = float(np.quantile(cosines, ODD_SHARE))
    if minimum < MIN_COSINE:
        raise TrainingError(
            f"in 8 bit a vector's cosine with itself falls to {minimum:.3f}: calibrate with more images"
        )
    return small


class _Calibration:
    """Images for onnxruntime's quantizer."""

    def __init__(self, images: Floats) -> None:
        self._parts = iter([images[i : i + CALIBRATION_IMAGES] for i in range(0, len(images), CALIBRATION_IMAGES)])

    def get_next(self) -> dict[str, Floats] | None:
        part = next(self._parts, None)
        return None if part is None else {"images": part}


def _run(network: bytes, images: Floats) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    vectors: Floats = session.run(None, {"images": images})[0]
    return vectors


def _difference(model: Encoder, network: bytes) -> float:
    """The largest difference of any number of any vector, on images of noise."""
    images = np.random.default_rng(0).standard_normal((65, BANDS, SPECTRA)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    return float(np.abs(_run(network, images) - expected).max())
