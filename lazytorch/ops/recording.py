"""Recording torch functions: operands to nodes, casts, and the registry from which the torch namespace is made."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from sys import _getframe, maxsize
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.default_dtype import default_dtype
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration, Operator, Trait
from lazytorch.ir.dialects import arith, tensor, tensor_transfer
from lazytorch.ir.trace import STATE, Node, Trace, leaf, record_node
from lazytorch.ir.types import TensorType
from lazytorch.loading import Functions, announce
from lazytorch.ops.promotion import python_dtype
from lazytorch.runtime.device import Device
from lazytorch.tensor import Tensor, arranged, assign, caller, from_array, make_view, value, wrap

announce(Tensor)
FUNCTIONS = Functions()
"""The torch namespace: every function by name."""
NUMBERS = (int, float, bool, complex)
LARGEST = {2: 65519.99999, 4: 3.4028235677973364e38}
"""By bytes of a floating type, what rounds to a finite number."""
_PYTHON_TYPES: dict[str, Callable[[Any], Any]] = {"f": float, "b": bool, "i": int, "u": int, "c": complex}
_WRITING = """
abs acos acosh addmv arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil clamp clamp_max clamp_min clip
cos cosh deg2rad erf erfc exp exp2 expm1 fix floor frac gcd i0 lcm ldexp log log10 log1p log2 logit nan_to_num neg negative
rad2deg reciprocal relu round rsqrt sigmoid sin sinc sinh sqrt square tan tanh trunc xlogy
"""
WRITING_FUNCTIONS = frozenset([f"{name}_" for name in _WRITING.split()])
"""The in-place forms that torch has as functions too (`torch.relu_(x)`)."""


def place() -> None:
    """Note the user's line as the place of what is recorded next."""
    STATE.trace.place = caller()


def number_leaf(number: Any, dtype: DType) -> Node:
    """A Python number as a run-time argument; a fraction is cut off for an integer type."""
    kind = dtype.kind
    if kind in "iu" and isinstance(number, float) and not math.isfinite(number):
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    if isinstance(number, complex) and kind != "c":
        raise RuntimeError(f"value cannot be converted to type {c_name(dtype)} without overflow")
    if kind == "c":  # numbers of two parts are no run-time arguments
        return value(from_array(np.asarray(number, dtype.numpy), dtype))
    number = _PYTHON_TYPES[kind](number)
    if kind == "f" and dtype.itemsize < 8:
        if dtype is not dtypes.bfloat16 and abs(number) > LARGEST[dtype.itemsize]:
            number = math.copysign(math.inf, number)
        if dtype.itemsize == 2:  # halves are no run-time arguments
            return cast(number_leaf(number, dtypes.float32), dtype)
    return leaf(scalar_type(dtype), number)


@cache
def scalar_type(dtype: DType) -> TensorType:
    """The type of one number."""
    return TensorType(dtype, ())


def node_of(x: Any, dtype: DType | None = None) -> Node:
    """A tensor's or number's node, cast to `dtype` if given."""
    if isinstance(x, Tensor):
        return cast(value(x), dtype)
    if isinstance(x, NUMBERS):
        return number_leaf(x, dtype or python_dtype(x))
    if isinstance(x, np.generic) and isinstance(x.item(), NUMBERS):
        return node_of(x.item(), dtype)
    raise TypeError(f"expected a Tensor or a number but got {type(x).__name__}")


def cast(node: Node, dtype: DType | None) -> Node:
    """The node in another element type."""
    if dtype is None or node.type.dtype is dtype:
        return node
    if not isinstance(dtype, DType):
        raise wrong_argument("dtype", "torch.dtype", dtype)
    return record_node(STATE.trace, arith.cast.operator(dtype=dtype), (node,))


def widened(node: Node) -> Node:
    """The node in the type that a function computes in which rounds once: float32 for 16-bit floats."""
    return cast(node, node.type.dtype.opmath)


def rounded(node: Node, dtype: DType) -> Node:
    """A function's outcome in its element type, its history under the function's own name."""
    if node.type.dtype is dtype:
        return node
    assert node.signature is not None, "an outcome was just computed"
    operator = node.signature.operator
    return emit(arith.cast, node, label=operator.label or operator.declaration.gradient_name, dtype=dtype)


def rounding_once(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator: a function of 16-bit floating tensors computes in float32 and rounds its result, as torch's kernels do."""

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Tensor:
        given = [x for x in (*arguments, *keywords.values()) if isinstance(x, Tensor)]
        dtype = given[0].dtype if given else None
        if dtype is None or dtype.opmath is dtype or any(x.dtype is not dtype for x in given[1:]):
            return function(*arguments, **keywords)
        wide = [result(widened(value(x)), x) if isinstance(x, Tensor) else x for x in arguments]
        named = {name: result(widened(value(x)), x) if isinstance(x, Tensor) else x for name, x in keywords.items()}
        return result(rounded(value(function(*wide, **named)), dtype), *given)

    return call


def wrap_all(trace: Trace, nodes: Sequence[Node]) -> list[Tensor]:
    """New tensors of values recorded together: a trace that has become long runs when all of them are held."""
    limit, trace.limit = trace.limit, maxsize
    tensors = [wrap(trace, node) for node in nodes[:-1]]
    trace.limit = limit
    return [*tensors, wrap(trace, nodes[-1])] if nodes else []


def emit(declaration: Declaration, *operands: Node, label: str = "", **attributes: Any) -> Node:
    """Record one operation on nodes."""
    return record_node(STATE.trace, declaration.operator(label, **attributes), operands)


def apply(operator: Operator, *operands: Node) -> Tensor:
    """Record one operation for the user's line; its tensor."""
    trace = STATE.trace
    trace.place = trace.call or caller()
    node = record_node(trace, operator, operands)
    if operands[0].storage is not None and operator.declaration.has(Trait.ELEMENTWISE):
        return arranged(trace, node, operands)
    return wrap(trace, node)


def result(node: Node, *like: Any) -> Tensor:
    """A tensor of a recorded node. `like`: the tensors (and numbers) of which it is an elementwise function; its elements
    lie in memory in their order."""
    sources = [value(x) for x in like if isinstance(x, Tensor)]
    for source in sources:
        if source.storage is not None:
            return arranged(STATE.trace, node, tuple(sources))
    return wrap(STATE.trace, node)


def without_slope(outcome: Tensor, *inputs: Any) -> Tensor:
    """The same value, as a function of the inputs whose derivative is 0."""
    node = value(outcome)
    for x in inputs:
        if isinstance(x, Tensor) and STATE.trace.grad_enabled and x.requires_grad:
            node = emit(tensor.forget, value(x), node)
    return outcome if node is value(outcome) else wrap(STATE.trace, node)


def same_type(*tensors: Any) -> None:
    """Raise torch's RuntimeError unless all tensors (None: left out) have the first one's element type."""
    first = tensors[0].dtype
    for x in tensors:
        if x is not None and x.dtype is not first:
            raise RuntimeError(f"expected scalar type {first.title} but found {x.dtype.title}")


def require_floating(name: str, x: Tensor) -> None:
    """Raise torch's NotImplementedError of a function `name` that is made for floating types."""
    if x.dtype.kind != "f":
        raise NotImplementedError(f"\"{name}\" not implemented for '{x.dtype.title}'")


def named(x: Tensor, label: str) -> Tensor:
    """What a function made of others gives: the same value, its history under the function's own name."""
    return wrap(STATE.trace, emit(tensor.alias, value(x), label=label))


def floating(x: Tensor) -> DType:
    """The element type of a function of real numbers: integers compute in the default floating type."""
    dtype = x.dtype
    return dtype if dtype.kind in "fc" else default_dtype()


def on_device(x: Tensor, device: Any) -> Tensor:
    """The tensor on a device, with its strides; itself if it is there. Raises as Device.check_usable."""
    target = Device(device).place()
    if x._node.type.device == target:
        return x
    place()
    return result(emit(tensor_transfer.transfer, value(x), device=target or "cpu"), x)


def beside(node: Node, like: Node) -> Node:
    """A value on the device of another one."""
    device = like.type.device
    return node if node.type.device == device else emit(tensor_transfer.transfer, node, device=device or "cpu")


def device_of(x: Tensor, device: Any) -> Any:
    """The device that an optional argument asks for; by default the tensor's, where that is not the CPU."""
    return x._node.type.device if device is None else device


def view(self: Tensor, operator: Operator) -> Tensor:
    """A view for the user's line."""
    return make_view(self, operator, caller())


def write_into(self: Tensor, outcome: Tensor, name: str = "") -> Tensor:
    """In-place: give `self` the elements of `outcome`, with torch's checks of shape and dtype."""
    node = value(outcome)
    shape = self._node.type.shape
    if node.type.shape != shape:
        raise RuntimeError(f"output with shape {list(shape)} doesn't match the broadcast shape {list(node.type.shape)}")
    check_cast(node.type.dtype, self.dtype)
    return assign(self, cast(node, self.dtype))


_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def rank_of(dtype: DType) -> int:
    """The category of an element type: bool, whole, floating, complex."""
    return _RANK[dtype.kind]


def check_cast(have: DType, want: DType) -> None:
    """A result may not lose its category when it is written to a tensor."""
    if _RANK[have.kind] > _RANK[want.kind]:
        raise RuntimeError(f"result type {have.title} can't be cast to the desired output type {want.title}")


def torch_function(
    *names: str, method: bool = True, inplace: bool = False, out: bool | str = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: register a function whose first parameter is a tensor under its torch names.

    method: also a method. inplace: also `name_`. out: the function takes `out=`; "same": only of the result's element type;
    "made": it makes a tensor out of nothing, in the element type of `out` unless told another one.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names or (function.__name__.rstrip("_"),):
            FUNCTIONS[name] = _OUT[out](function)
            if method:
                setattr(Tensor, name, function)
            if inplace:
                write = in_place(function, name)
                setattr(Tensor, f"{name}_", write)
                if f"{name}_" in WRITING_FUNCTIONS:
                    FUNCTIONS[f"{name}_"] = write
        return function

    return register


def attach(name: str, member: Any) -> None:
    """Make something a method (or property, or operator) of Tensor."""
    setattr(Tensor, name, member)


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Tensor]:
    """The method `name_` of a function whose first parameter is the tensor."""

    def write(self: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        return write_into(self, function(self, *arguments, **keywords), name)

    write.__name__ = f"{name}_"
    write.__doc__ = f"In-place form of `{name}`."
    return write


def takes_out(function: Callable[..., Any], same: bool = False) -> Callable[..., Any]:
    """The function with a keyword `out`: tensors that the results are written to (see `written`)."""

    def call(*arguments: Any, out: Any = None, **keywords: Any) -> Any:
        try:
            outcome = function(*arguments, **keywords)
        except AttributeError:
            _refuse_number(function, arguments)
            raise
        return outcome if out is None else written(outcome, out, function.__name__.rstrip("_"), same)

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    vars(call)["__wrapped__"] = function
    return call


def _made_into(function: Callable[..., Any]) -> Callable[..., Any]:
    """The keyword `out` of a function that makes a tensor: its element type is the one to make."""

    def call(*arguments: Any, out: Any = None, **keywords: Any) -> Any:
        if out is None:
            return function(*arguments, **keywords)
        dtype = keywords.setdefault("dtype", out.dtype)
        if dtype is not out.dtype:
            raise RuntimeError(f"dtype {dtype.title} does not match dtype of out parameter ({out.dtype.title})")
        return written(function(*arguments, **keywords), out, function.__name__.rstrip("_"))

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    vars(call)["__wrapped__"] = function
    return call


_OUT: dict[bool | str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    False: lambda function: function,
    True: takes_out,
    "same": partial(takes_out, same=True),
    "made": _made_into,
}
"""What a declaration says of `out=`: how the function gets the keyword."""


def _refuse_number(function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Raise torch's TypeError for the first argument where a function failed to find a tensor in a number."""
    for position, x in enumerate(arguments[:2]):
        if isinstance(x, NUMBERS):
            parameter = function.__code__.co_varnames[position]
            kind = type(x).__name__
            name = function.__name__.rstrip("_")
            raise TypeError(
                f"{name}(): argument '{parameter}' (position {position + 1}) must be Tensor, not {kind}"
            ) from None


_C_NAMES = {"Float": "float", "Double": "double", "Long": "long int", "Int": "int", "Bool": "bool", "Byte": "unsigned char"}


def c_name(dtype: DType) -> str:
    """C's name of an element type, as some of torch's messages have it."""
    return _C_NAMES.get(dtype.title, dtype.title)


def written(outcome: Any, out: Any, name: str = "", same: bool = False) -> Any:
    """What `out=` does: the tensors in it, resized if need be, with the elements of the results.

    same: they must have the results' element types; otherwise numbers are cast within their category, or to a higher one.
    Raises RuntimeError for another type, and where a gradient would be lost.
    """
    if isinstance(outcome, tuple | list):
        if not isinstance(out, tuple | list) or len(out) != len(outcome):
            kind = type(out).__name__
            raise TypeError(f"{name}(): argument 'out' must be tuple of Tensors, not {kind}")
        done = [written(part, target, name, same=True) for part, target in zip(outcome, out, strict=True)]
        return type(outcome)(*done) if hasattr(outcome, "_fields") else type(outcome)(done)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    node = value(outcome)
    if STATE.trace.grad_enabled and (node.history is not None or value(out).history is not None):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
            "requires grad."
        )
    have, want = node.type.dtype, out.dtype
    if same and have is not want:
        raise RuntimeError(f"Expected out tensor to have dtype {c_name(have)}, but got {c_name(want)} instead")
    check_cast(have, want)
    if out._node.type.shape != node.type.shape:
        out.resize_(node.type.shape)
    return assign(out, cast(node, want))


_OVERLOADED = frozenset(("sum", "mean", "max", "min", "prod", "var", "std", "norm", "squeeze", "transpose", "any", "all"))
"""Functions that torch has in several forms: of a wrong argument it says that no form fits."""


def called(argument: str = "") -> tuple[str, int]:
    """The torch function that the user called, and which of its arguments (from 1) has a name; for error messages."""
    name, position = "", 0
    frame: Any = _getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(__package__ or ""):
        code = frame.f_code
        if code.co_name == "call" and "function" in frame.f_locals:
            return frame.f_locals["function"].__name__.rstrip("_"), position + 1 if position else 0
        if code.co_name.rstrip("_") in FUNCTIONS:
            name = code.co_name.rstrip("_")
            position = code.co_varnames.index(argument) if argument in code.co_varnames else 0
        frame = frame.f_back
    return name, position


def wrong_argument(argument: str, expected: str, got: Any, at: int = 0) -> TypeError:
    """torch's error for an argument of a wrong type. at: its position, where it is not that of the parameter."""
    kind = type(got).__name__
    name, position = called(argument)
    if name in _OVERLOADED:
        return TypeError(f"{name}() received an invalid combination of arguments - got ({argument}={kind}, )")
    position = at or position or int(argument == "size")
    where = f" (position {position})" if position and argument != "dtype" else ""
    return TypeError(f"{name}(): argument '{argument}'{where} must be {expected}, not {kind}")


def element_type(dtype: Any, default: DType) -> DType:
    """The element type that an optional argument `dtype` asks for."""
    if dtype is None:
        return default
    if not isinstance(dtype, DType):
        raise wrong_argument("dtype", "torch.dtype", dtype)
    return dtype


def dimension(dim: int, rank: int) -> int:
    """A dimension number, negative ones counted from the end. Raises torch's IndexError, TypeError for no whole number."""
    if not isinstance(dim, int):
        try:
            dim = operator.index(dim)
        except TypeError:
            raise wrong_argument("dim", "int", dim) from None
    limit = max(rank, 1)
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return dim + limit if dim < 0 else dim


def dimensions(dim: Any, rank: int) -> tuple[int, ...]:
    """Several dimension numbers, ascending; None and () mean all."""
    if dim is None or dim == () or dim == []:
        return tuple(range(rank))
    if isinstance(dim, int):
        dim = (dim,)
    if not isinstance(dim, tuple | list):
        raise wrong_argument("dim", "int", dim)
    found = [dimension(d, rank) for d in dim]
    if len(set(found)) != len(found):
        raise RuntimeError(f"dim {found[-1]} appears multiple times in the list of dims")
    return tuple(sorted(found)) if rank else ()


def unreduce(node: Node, shape: tuple[int, ...], dims: tuple[int, ...]) -> Node:
    """Reduced dimensions back as size 1."""
    kept = tuple([1 if d in dims else size for d, size in enumerate(shape)])
    return node if node.type.shape == kept else emit(tensor.reshape, node, shape=kept)


BOOL = dtypes.bool_
