"""Random numbers: torch CPU's, bit for bit. Drawn when called (ir/random_reference.py); many float32 numbers are
computed from their bits by kernels (ir/dialects/random.py). Those of CUDA devices are computed there
(ops/device_sampling.py), unless `config.host_random` asks for the CPU's everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.config import config
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ir import random_reference
from lazytorch.ir.trace import STATE
from lazytorch.ops.creation import finish
from lazytorch.ops.generators import DEFAULT_SEED, DeviceGenerator, Generator
from lazytorch.ops.recording import (
    attach,
    element_type,
    require_floating,
    torch_function,
    without_slope,
)
from lazytorch.ops.shaping import sizes_of
from lazytorch.runtime.device import Device
from lazytorch.tensor import Tensor, assign, from_array, value, wrap

default_generator = Generator()
device_generators: dict[str, Generator] = {}
"""The default ones of CUDA devices, by their names, as far as they have been used."""
_device_seed = [DEFAULT_SEED]


def device_generator(name: str) -> Generator:
    """The default generator of a CUDA device."""
    found = device_generators.get(name)
    if found is None:
        found = device_generators[name] = Generator(name).manual_seed(_device_seed[0])
    return found


def source_for(name: str | None, generator: Generator | None) -> Generator:
    """The generator that numbers of a tensor on a device (None: the CPU) come from. Raises RuntimeError for one of another
    kind of device."""
    if name is None or config.host_random:
        wanted = "cpu"
    else:
        wanted = "cuda"
    if generator is None:
        return default_generator if wanted == "cpu" else device_generator(name or "")
    if generator.device.type != wanted and not config.host_random:
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{generator.device.type}'")
    return generator


def seed_devices(seed: int) -> None:
    """Seed the default generators of all CUDA devices, also of those that are used later."""
    _device_seed[0] = int(seed)
    for generator in device_generators.values():
        generator.manual_seed(seed)


def all_states() -> list[tuple[Generator, Tensor]]:
    """The states of all default generators, for `restore_states`."""
    return [(generator, generator.get_state()) for generator in (default_generator, *device_generators.values())]


def restore_states(states: list[tuple[Generator, Tensor]]) -> None:
    """Go back to states."""
    for generator, state in states:
        generator.set_state(state)


@torch_function("manual_seed", method=False, out=False)
def manual_seed(seed: int) -> Generator:
    """Seed the default generators, of the CPU and of all devices."""
    seed_devices(seed)
    return default_generator.manual_seed(seed)


@torch_function("seed", method=False, out=False)
def seed() -> int:
    """Seed the default generators from the operating system."""
    found = default_generator.seed()
    seed_devices(found)
    return found


@torch_function("initial_seed", method=False, out=False)
def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


@torch_function("get_rng_state", method=False, out=False)
def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


@torch_function("set_rng_state", method=False, out=False)
def set_rng_state(new_state: Tensor) -> None:
    """Continue the default generator from a state."""
    default_generator.set_state(new_state)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def drawn(draw: Callable[[], np.ndarray], dtype: DType) -> Tensor:
    """A tensor of the random numbers that a function draws; if the call may be replayed, they are drawn anew then."""
    observer = STATE.trace.observer
    if observer is None:
        return from_array(draw(), dtype)
    observer.drawing = True
    try:
        out = from_array(draw(), dtype)
    finally:
        observer.drawing = False
    observer.drew(out._node, draw)
    return out


def fresh(draw: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """A tensor of random numbers, from a function that draws so many; those of all examples at once within a vmap."""
    levels = [level for level in STATE.trace.levels if level.draws() is not None]
    whole = (*[level.size for level in levels], *shape)
    out = drawn(lambda: np.asarray(draw(_count(whole)), dtype.numpy).reshape(whole), dtype)
    return _examples(levels, out) if levels else out


def _examples(levels: Sequence[Any], batch: Tensor) -> Tensor:
    """The stand-in for numbers whose first dimensions run over the examples of these vmaps, outermost first."""
    node = batch._node
    for level in levels:
        node = level.stand_in(node)
    return wrap(STATE.trace, node)


def fresh_rows(draw: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """As `fresh`, from a function that draws all numbers of a tensor in a way of its own."""
    levels = [level for level in STATE.trace.levels if level.draws() is not None]
    sizes = tuple([level.size for level in levels])

    def all_rows() -> np.ndarray:
        rows = [np.asarray(draw(), dtype.numpy).reshape(shape) for _ in range(_count(sizes))]
        return np.stack(rows).reshape((*sizes, *shape)) if rows else np.zeros((*sizes, *shape), dtype.numpy)

    out = drawn(all_rows, dtype)
    return _examples(levels, out) if levels else out


HOST_DRAWS: dict[str, Callable[..., np.ndarray]] = {
    "uniform": Generator.uniform,
    "normal": Generator.normal,
    "integers": lambda g, n, dtype, low, high: g.draw(random_reference.random_integers, n, low, high, dtype=dtype),
    "full_range": lambda g, n, dtype: g.draw(random_reference.random_full, n, dtype),
    "bernoulli": lambda g, n, dtype, p: g.draw(random_reference.bernoulli, n, p).astype(dtype.numpy),
    "dropout": lambda g, n, dtype, p: g.draw(random_reference.dropout_mask, n, p),
    "log_normal": lambda g, n, dtype, mean, std: g.draw(random_reference.log_normal, n, dtype, mean, std),
    "exponential": lambda g, n, dtype, rate: g.draw(random_reference.exponential, n, dtype, rate),
    "cauchy": lambda g, n, dtype, median, sigma: g.draw(random_reference.cauchy, n, dtype, median, sigma),
    "geometric": lambda g, n, dtype, p: g.draw(random_reference.geometric, n, dtype, p),
}
"""By kind, functions of (generator, count, element type, parameters ...)."""


def random_tensor(source: Generator, kind: str, shape: tuple[int, ...], dtype: DType, *parameters: Any) -> Tensor:
    """A tensor of random numbers of a kind, where the generator draws them; those of all examples at once within a vmap. Of
    kind "dropout" the elements are bools, and the type is that of what is dropped."""
    made = dtypes.bool_ if kind == "dropout" else dtype
    if not isinstance(source, DeviceGenerator):
        return fresh(lambda count: HOST_DRAWS[kind](source, count, dtype, *parameters), shape, made)
    from lazytorch.ops import device_sampling  # what belongs to GPUs is loaded when one is used

    levels = [level for level in STATE.trace.levels if level.draws() is not None]
    whole = (*[level.size for level in levels], *shape)
    out = device_sampling.drawn(source, kind, whole, dtype, *parameters)
    return _examples(levels, out) if levels else out


def place_of(options: dict[str, Any]) -> str | None:
    """Where a function's result goes, by its option `device` or the default."""
    given = options.get("device")
    if given is None and config.device == "cpu":
        return None
    return Device(config.device if given is None else given).place()


def _sized(name: str, draw: str) -> None:
    def function(*size: Any, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
        shape = sizes_of(size if size else options.pop("size", size))
        out = random_tensor(source_for(place_of(options), generator), draw, shape, dtype or default_dtype())
        return finish(out, options, options.pop("device", None))

    function.__name__, function.__doc__ = name, f"`torch.{name}`: torch CPU's numbers."
    torch_function(name, method=False, out="made")(function)

    def like(input: Tensor, *, dtype: DType | None = None, **options: Any) -> Tensor:
        return function(tuple(input.shape), dtype=dtype or input.dtype, **options)

    torch_function(f"{name}_like", method=False, out=False)(like)


_sized("rand", "uniform")
_sized("randn", "normal")


@torch_function("randint", method=False, out="made")
def randint(
    low: Any,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    **options: Any,
) -> Tensor:
    """Whole numbers of [low, high)."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    shape, kind = sizes_of((size,)), dtype or dtypes.int64
    out = random_tensor(source_for(place_of(options), generator), "integers", shape, kind, low, high)
    return finish(out, options, options.pop("device", None))


@torch_function("randint_like", method=False, out=False)
def randint_like(input: Tensor, low: Any, high: Any = None, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """Whole numbers of [low, high) in the shape and element type of a tensor."""
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, **options)


@torch_function("randperm", method=False, out="made")
def randperm(n: int, *, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    kind = dtype or dtypes.int64
    source = source_for(place_of(options), generator)
    out = fresh_rows(lambda: source.draw(random_reference.permutation, n).astype(kind.numpy), (n,), kind)
    return finish(out, options, options.pop("device", None))


@torch_function("normal", method=False)
def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """Normally distributed numbers; mean and std may be tensors."""
    if size is not None:
        kind = element_type(options.pop("dtype", None), default_dtype())
        out = from_array(np.zeros(sizes_of((size,)), kind.numpy), kind).normal_(mean, std, generator=generator)
        device = options.pop("device", None)
        return finish(out, options, device)
    like = mean if isinstance(mean, Tensor) else std
    if like.dtype.kind != "f":
        require_floating("normal_kernel_cpu", like)
    shape = np.broadcast_shapes(*[tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)])
    out = from_array(np.zeros(shape, like.dtype.numpy), like.dtype, like)
    out.normal_(generator=generator)
    parts = [x.detach() if isinstance(x, Tensor) else x for x in (std, mean)]
    return without_slope((out * parts[0] + parts[1]).to(like.dtype), mean, std)


def _check_parameters(name: str, given: dict[str, Any]) -> None:
    """Raise torch's RuntimeError for parameters of a distribution that is none."""
    if name == "uniform" and given["from"] > given["to"]:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={given['from']} > to={given['to']}"
        )
    if name == "normal" and given["std"] < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {given['std']}")
    if name == "log_normal" and given["std"] <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={given['std']}")
    if name == "exponential" and given["lambd"] <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={given['lambd']}")
    if name == "cauchy" and given["sigma"] <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={given['sigma']}")
    if name == "geometric" and not 0 < given["p"] < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={given['p']}")


def _writer(name: str, **defaults: float | None) -> None:
    """Declare `Tensor.NAME_`, whose parameters have these names and defaults (None: must be given)."""

    def write(self: Tensor, *arguments: Any, generator: Generator | None = None, **keywords: Any) -> Tensor:
        given = {**defaults, **dict(zip(defaults, arguments, strict=False)), **keywords}
        if len(arguments) > len(defaults) or len(given) > len(defaults) or None in given.values():
            raise TypeError(f"{name}_() takes the arguments {', '.join(defaults)}, not {arguments} {keywords}")
        _check_parameters(name, given)
        source = source_for(self._node.type.device, generator)
        return assign(self, random_tensor(source, name, tuple(self.shape), self.dtype, *given.values())._node)

    write.__name__, write.__doc__ = f"{name}_", f"Fill with random numbers: `Tensor.{name}_`, torch CPU's."
    setattr(Tensor, f"{name}_", write)


_writer("uniform", **{"from": 0.0, "to": 1.0})
_writer("normal", mean=0.0, std=1.0)
_writer("log_normal", mean=1.0, std=2.0)
_writer("exponential", lambd=1.0)
_writer("cauchy", median=0.0, sigma=1.0)
_writer("geometric", p=None)


def _random(self: Tensor, low: int | None = None, high: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Whole numbers: of [low, high), of [0, low), or of the whole type."""
    source, shape = source_for(self._node.type.device, generator), tuple(self.shape)
    if high is None:
        low, high = 0, low
    if high is None:
        return assign(self, random_tensor(source, "full_range", shape, self.dtype)._node)
    return assign(self, random_tensor(source, "integers", shape, self.dtype, low, high)._node)


attach("random_", _random)


def _bernoulli(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Ones with probability p, else zeros."""
    source, dtype = source_for(self._node.type.device, generator), self.dtype
    if not isinstance(p, Tensor):
        return assign(self, random_tensor(source, "bernoulli", tuple(self.shape), dtype, p)._node)
    levels = [level for level in STATE.trace.levels if level.draws() is not None]
    node = value(p.detach())
    for level in reversed(levels):
        node = level.whole(node)
    if not isinstance(source, DeviceGenerator):
        chances = wrap(STATE.trace, node)._array("bernoulli()")
        found = source.draw(random_reference.bernoulli_of_tensor, chances.reshape(-1), p.dtype).astype(dtype.numpy)
        out = from_array(found.reshape(chances.shape), dtype)
    else:
        from lazytorch.ops import device_sampling  # what belongs to GPUs is loaded when one is used

        out = device_sampling.ones_by_probability(source, wrap(STATE.trace, node), dtype)
    return assign(self, (_examples(levels, out) if levels else out)._node)


attach("bernoulli_", _bernoulli)


@torch_function("bernoulli")
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in the tensor, else zeros."""
    out = from_array(np.zeros(tuple(input.shape), input.dtype.numpy), input.dtype, input)
    return without_slope(_bernoulli(out, input if p is None else p, generator=generator), input)


def dropout_mask(like: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Which elements a dropout of elements like a tensor's keeps."""
    return random_tensor(source_for(like._node.type.device, None), "dropout", shape, like.dtype, p)


def _checked_weights(input: Tensor, num_samples: int, replacement: bool) -> np.ndarray:
    """The weights of `multinomial`, finite, not negative and not all 0 in a row; else a RuntimeError."""
    if len(input.shape) not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if input.dtype.kind != "f":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype.title}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    here = input.detach().cpu()
    weights = np.asarray(here.numpy())
    numbers = weights if input.dtype.itemsize > 2 else np.asarray(here.float().numpy())
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if numbers.size and not (numbers.sum(-1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    return weights


@torch_function("multinomial", out="same")
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """Category numbers drawn with the given weights, per row."""
    weights = _checked_weights(input, num_samples, replacement)
    source = source_for(input._node.type.device, generator)
    shape = (*weights.shape[:-1], num_samples)
    found = fresh_rows(
        lambda: source.draw(random_reference.multinomial, weights, num_samples, replacement), shape, dtypes.int64
    )
    return found.to(input.device)
