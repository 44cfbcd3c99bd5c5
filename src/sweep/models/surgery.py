"""Networks pruned and joined; surgery returns a copy and never touches the original.

Where one convolution makes a channel, removing it means that what the convolution puts out for it
is zero for every image: kernel and bias of the output channel become 0, and where batch
normalization follows, its shift and moving mean too, since it would otherwise turn that zero into a
constant. An activation with f(0) != 0 keeps the channel at that constant. Any other channel becomes
zero at the site, by a Rescaling layer behind it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.models.sites import Site


def prune(model: keras.Model, sites: Sequence[Site], channels: Sequence[int]) -> keras.Model:
    """A copy of a network with channels removed.

    Args:
        model: B.
        sites: the layers whose channels are numbered through, first layer first.
        channels: which of them to remove.

    Returns:
        B', of the same architecture but for a Rescaling behind each site without a convolution of
        its own; B is untouched.
    """
    parts = split_channels(sites, channels)
    masked = {s.layer: (s, local) for s, local in parts if local and s.convolution is None}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        made = layer(*args, **kwargs)
        return _mask(*masked[layer.name])(made) if layer.name in masked else made

    copy = keras.models.clone_model(model, call_function=call if masked else None)
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    for site, local in parts:
        for variable, layer in _variables(copy, site):
            _change(variable, layer, local, 0)
    return copy


def number_channels(model: keras.Model, sites: Sequence[Site]) -> keras.Model:
    """A copy whose weights are 1 + the number of the channel that is removed with them, or 0.

    Each of the sites' channels is made by one convolution.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights([np.zeros_like(values) for values in copy.get_weights()])
    first = 0
    for site in sites:
        channels = np.arange(site.channels)
        for variable, layer in _variables(copy, site):
            _change(variable, layer, channels, 1 + first + channels)
        first += site.channels
    return copy


def _variables(model: keras.Model, site: Site) -> Iterator[tuple[keras.Variable, Any]]:
    """What is zeroed where a channel of a site is removed, and the layer of a kernel."""
    if site.convolution is None:
        return
    convolution = model.get_layer(site.convolution)
    separable = isinstance(convolution, layers.SeparableConv2D)
    yield convolution.pointwise_kernel if separable else convolution.kernel, convolution
    if convolution.bias is not None:
        yield convolution.bias, None
    for name in site.norms:
        norm = model.get_layer(name)
        yield norm.moving_mean, None
        if norm.beta is not None:
            yield norm.beta, None


def _change(variable: keras.Variable, layer: Any, channels: Any, to: Any) -> None:
    values = ops.convert_to_numpy(variable).copy()
    view = values if layer is None else _channels_last(layer, values)
    view[..., channels] = to
    variable.assign(values)


def _mask(site: Site, channels: Sequence[int]) -> layers.Layer:
    scale = np.ones(site.channels)
    scale[channels] = 0
    return layers.Rescaling(scale.tolist(), name=f"{site.layer}_kept", dtype=site.tensor.dtype)


def _channels_last(layer: Any, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view of a layer's kernel whose last axis counts the channels that the layer puts out."""
    if isinstance(layer, layers.DepthwiseConv2D):  # (h, w, inputs, m)
        return kernel.reshape((*kernel.shape[:2], -1))
    return np.moveaxis(kernel, -2, -1) if isinstance(layer, layers.Conv2DTranspose) else kernel


def read_kernel(layer: Any) -> NDArray[np.float32]:
    """What makes a layer's channels, as the kernel of a convolution, (h, w, inputs, C)."""
    if isinstance(layer, layers.SeparableConv2D):
        depthwise, pointwise = (
            np.asarray(kernel) for kernel in (layer.depthwise_kernel, layer.pointwise_kernel)
        )
        pointwise = pointwise.reshape((*depthwise.shape[2:], -1))
        return np.asarray(np.einsum("hwim,imc->hwic", depthwise, pointwise), np.float32)
    kernel = _channels_last(layer, np.asarray(layer.kernel, np.float32))
    if kernel.ndim == 3:  # a depthwise channel reads one
        return kernel[:, :, None]
    return kernel if kernel.ndim == 4 else kernel[None, None]


def split_channels(sites: Sequence[Site], channels: Sequence[int]) -> list[tuple[Site, list[int]]]:
    """Channel numbers that run through all sites, as numbers within each site.

    Of (pool_2 with 40, pool_3 with 60), number 41 is channel 1 of pool_3.
    """
    parts, first = [], 0
    for site in sites:
        last = first + site.channels
        parts.append((site, [c - first for c in channels if first <= c < last]))
        first = last
    return parts


def join_goodnet(badnet: keras.Model, repaired: keras.Model) -> keras.Model:
    """G as one model with N + 1 outputs: one-hot of the class on which B and B' agree, else of N.

    It is built of Keras operations alone, so that `keras.models.load_model` opens it anywhere.
    """
    classes = badnet.output_shape[-1]
    image = keras.Input(badnet.input_shape[1:], name="image")
    answers = []
    for name, model in (("badnet", badnet), ("repaired", repaired)):
        part = keras.Model(model.inputs[0], model.outputs[0], name=name)
        answers.append(ops.argmax(part(image), axis=-1))
    agreed = ops.where(ops.equal(*answers), answers[0], classes)
    return keras.Model(image, ops.one_hot(agreed, classes + 1), name="goodnet")


def content_key(model: keras.Model, **settings: Any) -> str:
    """A name for what a network computes: its configuration and its weights, 32 hex digits."""
    config = model.get_config()
    config.pop("name", None)
    digest = hashlib.sha256(json.dumps([config, settings], sort_keys=True, default=str).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:32]


def describe(model: keras.Model) -> Mapping[str, object]:
    """What a person wants to know of a network."""
    return {
        "input_shape": list(model.input_shape[1:]),
        "classes": int(model.output_shape[-1]),
        "parameters": int(model.count_params()),
        "layers": [layer.name for layer in model.layers],
    }
