"""Random numbers: torch CPU's, bit for bit. Drawn when called (ir/random_reference.py); many float32 numbers are
computed from their bits by kernels (ir/dialects/random.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir import mersenne_twister, random_reference
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.trace import Trace, record_node
from lazytorch.ops.creation import finish
from lazytorch.ops.recording import attach, element_type, number_leaf, torch_function
from lazytorch.ops.shaping import sizes_of
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, assign, default_dtype, from_array

DEFAULT_SEED = 67280421310721
COMPILED_FROM = 64
"""Numbers from which a kernel computes them: few are no work for the reference, and each number of them is planned once."""


def _compute(declaration: Declaration, bits: np.ndarray, first: float, second: float) -> np.ndarray:
    """Compute random numbers from bits at once, in a trace of their own: they have nothing to do with what is pending."""
    if bits.size < COMPILED_FROM:
        return random_reference.by_reference(declaration, bits, first, second)
    trace = Trace()
    parameters = [number_leaf(x, dtypes.float32) for x in (first, second)]
    source = from_array(bits, dtypes.uint32)
    node = record_node(trace, declaration.operator(), (source._node, *parameters))
    synchronize(trace, (node,), "random numbers")
    values: np.ndarray = node.buffer.numpy(np.float32, bits.shape)
    return values


class Generator:
    """A source of random numbers (torch.Generator): the Mersenne Twister with torch's seeding."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device
        self.state = mersenne_twister.from_seed(DEFAULT_SEED)
        self.first_seed = DEFAULT_SEED

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence that belongs to the seed."""
        self.state = mersenne_twister.from_seed(int(seed))
        self.first_seed = int(seed)
        return self

    def initial_seed(self) -> int:
        """The seed of the present sequence."""
        return self.first_seed

    def seed(self) -> int:
        """A new seed from the operating system."""
        seed = int.from_bytes(np.random.bytes(8), "little")
        self.manual_seed(seed)
        return seed

    def get_state(self) -> Tensor:
        """The state as torch's byte tensor."""
        return from_array(mersenne_twister.to_bytes(self.state), dtypes.uint8)

    def set_state(self, state: Tensor) -> Generator:
        """Continue from a state."""
        self.state = mersenne_twister.from_bytes(state.numpy())
        return self

    def uniform(self, count: int, dtype: DType, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Numbers of [low, high)."""
        return self.draw(random_reference.uniform, count, dtype, low, high, compute=_compute)

    def normal(self, count: int, dtype: DType, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
        """Normally distributed numbers."""
        return self.draw(random_reference.normal, count, dtype, mean, std, compute=_compute)

    def draw(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> np.ndarray:
        """Draw with a reference function, and advance."""
        values, self.state = function(self.state, *arguments, **keywords)
        array: np.ndarray = values
        return array


default_generator = Generator()


def _generator(generator: Generator | None) -> Generator:
    return default_generator if generator is None else generator


@torch_function("manual_seed", method=False, out=False)
def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


@torch_function("seed", method=False, out=False)
def seed() -> int:
    """Seed the default generator from the operating system."""
    return default_generator.seed()


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


def _drawn(values: np.ndarray, shape: tuple[int, ...], dtype: DType, options: dict[str, Any]) -> Tensor:
    return finish(from_array(values.reshape(shape), dtype), options, options.pop("device", None))


def _sized(name: str, draw: Callable[[Generator, int, DType], np.ndarray]) -> None:
    def function(*size: Any, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
        shape = sizes_of(size if size else options.pop("size", size))
        kind = dtype or default_dtype()
        return _drawn(draw(_generator(generator), _count(shape), kind), shape, kind, options)

    function.__name__, function.__doc__ = name, f"`torch.{name}`: torch CPU's numbers."
    torch_function(name, method=False)(function)

    def like(input: Tensor, *, dtype: DType | None = None, **options: Any) -> Tensor:
        return function(tuple(input.shape), dtype=dtype or input.dtype, **options)

    torch_function(f"{name}_like", method=False, out=False)(like)


_sized("rand", Generator.uniform)
_sized("randn", Generator.normal)


@torch_function("randint", method=False)
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
    values = _generator(generator).draw(random_reference.random_integers, _count(shape), low, high, dtype=kind)
    return _drawn(values, shape, kind, options)


@torch_function("randint_like", method=False, out=False)
def randint_like(input: Tensor, low: Any, high: Any = None, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """Whole numbers of [low, high) in the shape and element type of a tensor."""
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, **options)


@torch_function("randperm", method=False)
def randperm(n: int, *, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    kind = dtype or dtypes.int64
    values = _generator(generator).draw(random_reference.permutation, n)
    return _drawn(values.astype(kind.numpy), (n,), kind, options)


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
    shape = np.broadcast_shapes(*[tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)])
    out = from_array(np.zeros(shape, like.dtype.numpy), like.dtype, like)
    out.normal_(generator=generator)
    return out * std + mean


def _writer(name: str, draw: Callable[..., np.ndarray], **defaults: float | None) -> None:
    """Declare `Tensor.NAME_`, whose parameters have these names and defaults (None: must be given)."""

    def write(self: Tensor, *arguments: Any, generator: Generator | None = None, **keywords: Any) -> Tensor:
        given = {**defaults, **dict(zip(defaults, arguments, strict=False)), **keywords}
        if len(arguments) > len(defaults) or len(given) > len(defaults) or None in given.values():
            raise TypeError(f"{name}_() takes the arguments {', '.join(defaults)}, not {arguments} {keywords}")
        values = draw(_generator(generator), self._node.type.numel, self.dtype, *given.values())
        fresh = from_array(values.reshape(tuple(self.shape)), self.dtype, self)
        return assign(self, fresh._node)

    write.__name__, write.__doc__ = f"{name}_", f"Fill with random numbers: `Tensor.{name}_`, torch CPU's."
    setattr(Tensor, f"{name}_", write)


_writer("uniform", Generator.uniform, **{"from": 0.0, "to": 1.0})
_writer("normal", Generator.normal, mean=0.0, std=1.0)
_writer("log_normal", lambda g, n, d, mean, std: g.draw(random_reference.log_normal, n, d, mean, std), mean=1.0, std=2.0)
_writer("exponential", lambda g, n, d, rate: g.draw(random_reference.exponential, n, d, rate), lambd=1.0)
_writer("cauchy", lambda g, n, d, at, width: g.draw(random_reference.cauchy, n, d, at, width), median=0.0, sigma=1.0)
_writer("geometric", lambda g, n, d, p: g.draw(random_reference.geometric, n, d, p), p=None)


def _random(self: Tensor, low: int | None = None, high: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Whole numbers: of [low, high), of [0, low), or of the whole type."""
    source, count = _generator(generator), self._node.type.numel
    if low is None:
        values = source.draw(random_reference.random_full, count, self.dtype)
    else:
        if high is None:
            low, high = 0, low
        values = source.draw(random_reference.random_integers, count, low, high, dtype=self.dtype)
    return assign(self, from_array(values.reshape(tuple(self.shape)), self.dtype, self)._node)


attach("random_", _random)


def _bernoulli(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Ones with probability p, else zeros."""
    source = _generator(generator)
    if isinstance(p, Tensor):
        values = source.draw(random_reference.bernoulli_of_tensor, p.detach()._array("bernoulli()").reshape(-1), p.dtype)
    else:
        values = source.draw(random_reference.bernoulli, self._node.type.numel, p)
    return assign(self, from_array(values.astype(self.dtype.numpy).reshape(tuple(self.shape)), self.dtype, self)._node)


attach("bernoulli_", _bernoulli)


@torch_function("bernoulli")
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in the tensor, else zeros."""
    out = from_array(np.zeros(tuple(input.shape), input.dtype.numpy), input.dtype, input)
    return _bernoulli(out, input if p is None else p, generator=generator)


def dropout_mask(count: int, p: float) -> np.ndarray:
    """Which elements a dropout keeps."""
    return default_generator.draw(random_reference.dropout_mask, count, p)


@torch_function("multinomial")
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """Category numbers drawn with the given weights, per row."""
    weights = input.detach()._array("multinomial()")
    values = _generator(generator).draw(random_reference.multinomial, weights, num_samples, replacement)
    return from_array(np.asarray(values).astype(np.int64), dtypes.int64, input)
