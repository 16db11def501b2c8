"""Random numbers: torch CPU's, bit for bit. Drawn when called (ir/random_reference.py); many float32 numbers are
computed from their bits by kernels (ir/dialects/random.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir import mersenne_twister, random_reference
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.trace import STATE, Trace, record_node
from lazytorch.ops.creation import finish
from lazytorch.ops.recording import (
    attach,
    element_type,
    number_leaf,
    require_floating,
    torch_function,
    without_slope,
)
from lazytorch.ops.shaping import sizes_of
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, assign, default_dtype, from_array, value, wrap

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
        for level in STATE.trace.levels:
            level.draws()
        observer = STATE.trace.observer
        if observer is not None and not observer.drawing:
            observer.refuse("random numbers are drawn that Python code looks at")
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


def _made(draw: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: DType, options: dict[str, Any]) -> Tensor:
    return finish(fresh(draw, shape, dtype), options, options.pop("device", None))


def _sized(name: str, draw: Callable[[Generator, int, DType], np.ndarray]) -> None:
    def function(*size: Any, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
        shape = sizes_of(size if size else options.pop("size", size))
        kind = dtype or default_dtype()
        source = _generator(generator)
        return _made(lambda count: draw(source, count, kind), shape, kind, options)

    function.__name__, function.__doc__ = name, f"`torch.{name}`: torch CPU's numbers."
    torch_function(name, method=False, out="made")(function)

    def like(input: Tensor, *, dtype: DType | None = None, **options: Any) -> Tensor:
        return function(tuple(input.shape), dtype=dtype or input.dtype, **options)

    torch_function(f"{name}_like", method=False, out=False)(like)


_sized("rand", Generator.uniform)
_sized("randn", Generator.normal)


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
    source = _generator(generator)
    return _made(lambda n: source.draw(random_reference.random_integers, n, low, high, dtype=kind), shape, kind, options)


@torch_function("randint_like", method=False, out=False)
def randint_like(input: Tensor, low: Any, high: Any = None, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """Whole numbers of [low, high) in the shape and element type of a tensor."""
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, **options)


@torch_function("randperm", method=False, out="made")
def randperm(n: int, *, generator: Generator | None = None, dtype: DType | None = None, **options: Any) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    kind = dtype or dtypes.int64
    source = _generator(generator)
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


def _writer(name: str, draw: Callable[..., np.ndarray], **defaults: float | None) -> None:
    """Declare `Tensor.NAME_`, whose parameters have these names and defaults (None: must be given)."""

    def write(self: Tensor, *arguments: Any, generator: Generator | None = None, **keywords: Any) -> Tensor:
        given = {**defaults, **dict(zip(defaults, arguments, strict=False)), **keywords}
        if len(arguments) > len(defaults) or len(given) > len(defaults) or None in given.values():
            raise TypeError(f"{name}_() takes the arguments {', '.join(defaults)}, not {arguments} {keywords}")
        _check_parameters(name, given)
        source, dtype = _generator(generator), self.dtype
        return assign(self, fresh(lambda n: draw(source, n, dtype, *given.values()), tuple(self.shape), dtype)._node)

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
    source, dtype = _generator(generator), self.dtype
    if high is None:
        low, high = 0, low

    def draw(count: int) -> np.ndarray:
        if high is None:
            return source.draw(random_reference.random_full, count, dtype)
        return source.draw(random_reference.random_integers, count, low, high, dtype=dtype)

    return assign(self, fresh(draw, tuple(self.shape), dtype)._node)


attach("random_", _random)


def _bernoulli(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Ones with probability p, else zeros."""
    source, dtype = _generator(generator), self.dtype
    if not isinstance(p, Tensor):
        out = fresh(
            lambda count: source.draw(random_reference.bernoulli, count, p).astype(dtype.numpy), tuple(self.shape), dtype
        )
        return assign(self, out._node)
    levels = [level for level in STATE.trace.levels if level.draws() is not None]
    node = value(p.detach())
    for level in reversed(levels):
        node = level.whole(node)
    chances = wrap(STATE.trace, node)._array("bernoulli()")
    drawn = source.draw(random_reference.bernoulli_of_tensor, chances.reshape(-1), p.dtype).astype(dtype.numpy)
    out = from_array(drawn.reshape(chances.shape), dtype)
    return assign(self, (_examples(levels, out) if levels else out)._node)


attach("bernoulli_", _bernoulli)


@torch_function("bernoulli")
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in the tensor, else zeros."""
    out = from_array(np.zeros(tuple(input.shape), input.dtype.numpy), input.dtype, input)
    return without_slope(_bernoulli(out, input if p is None else p, generator=generator), input)


def dropout_mask(count: int, p: float) -> np.ndarray:
    """Which elements a dropout keeps."""
    return default_generator.draw(random_reference.dropout_mask, count, p)


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
    source = _generator(generator)
    shape = (*weights.shape[:-1], num_samples)
    found = fresh_rows(
        lambda: source.draw(random_reference.multinomial, weights, num_samples, replacement), shape, dtypes.int64
    )
    return found.to(input.device)
