"""Element types, tensor classes and constructors, devices and switches: the same answers as torch's."""

import numpy as np
import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

ANSWERS = {
    "limits": lambda t: [t.finfo(kind) for kind in (t.float32, t.float64, t.float16, t.bfloat16)] + [t.finfo()],
    "limits of integers": lambda t: [t.iinfo(kind) for kind in (t.uint8, t.int8, t.int16, t.int32, t.int64)],
    "fields of limits": lambda t: (
        t.finfo(t.float32).eps,
        t.finfo(t.float64).bits,
        t.iinfo(t.int64).max,
        t.finfo(t.float16).tiny,
    ),
    "empty and sized": lambda t: (t.Tensor().shape, t.Tensor(2, 3).shape, t.Tensor(t.Size([2])).shape, t.LongTensor(2, 0)),
    "from data": lambda t: (t.Tensor([1, 2]), t.Tensor((2, 3)), t.Tensor([[True], [False]]), t.FloatTensor(range(3))),
    "from arrays": lambda t: (t.LongTensor(np.array([1.0, 2])), t.FloatTensor(np.array([1, 2])), t.Tensor(np.ones((1, 2)))),
    "every kind": lambda t: [
        getattr(t, f"{kind}Tensor")([1, 0])
        for kind in ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]
    ],
    "integers from floats": lambda t: t.LongTensor([1.5, -1.5]),
    "from a tensor": lambda t: (t.FloatTensor(t.ones(2)), t.Tensor(t.ones(2))),
    "variables": lambda t: _variables(t),
    "classes": lambda t: [
        isinstance(x, kind)
        for x in (t.ones(1), t.ones(1).long(), 3)
        for kind in (t.Tensor, t.FloatTensor, t.LongTensor, t.cuda.FloatTensor)
    ],
    "type": lambda t: [t.ones(1).to(kind).type() for kind in (t.float32, t.float64, t.int64, t.bool, t.uint8, t.bfloat16)],
    "conversion by type": lambda t: [t.ones(1).type(kind) for kind in ("torch.LongTensor", t.DoubleTensor, t.int32)],
    "names of classes": lambda t: (repr(t.FloatTensor), repr(t.cuda.LongTensor), t.typename(t.ones(1)), t.typename(3)),
    "tests of kinds": lambda t: (
        t.is_tensor(t.ones(1)),
        t.is_tensor(1),
        t.is_floating_point(t.ones(1)),
        t.is_complex(t.ones(1)),
        t.ones(1).is_complex(),
        t.is_nonzero(t.zeros(1)),
        t.ones(2).is_same_size(t.zeros(2)),
        t.ones(1).is_signed(),
    ),
    "attributes": lambda t: [
        (
            x.is_cuda,
            x.is_cpu,
            x.is_sparse,
            x.is_quantized,
            x.is_meta,
            x.is_mps,
            x.itemsize,
            x.nbytes,
            x.get_device(),
            x.is_pinned(),
        )
        for x in (t.ones(2, 3), t.zeros(0).long())
    ],
    "layout": lambda t: t.ones(1).layout is t.strided,
    "storage": lambda t: (t.ones(2, 3)[1:].untyped_storage().nbytes(), len(t.ones(4).untyped_storage())),
    "same storage": lambda t: (lambda x: x.untyped_storage().data_ptr() == x[1:].untyped_storage().data_ptr())(t.ones(3)),
    "counts": lambda t: (t.numel(t.ones(2, 3)), t.ones(2, 3).nelement()),
    "can_cast": lambda t: [t.can_cast(a, b) for a in (t.int64, t.float32, t.bool) for b in (t.int64, t.float32, t.bool)],
    "scalar_tensor": lambda t: (t.scalar_tensor(3), t.scalar_tensor(3, dtype=t.int64)),
    "logspace": lambda t: (t.logspace(0, 2, 3), t.logspace(-1, 1, 5, base=2.0), t.logspace(1, 1, 1)),
    "cuda": lambda t: (
        t.cuda.is_available(),
        t.cuda.device_count(),
        t.cuda.is_initialized(),
        t.cuda.manual_seed_all(1),
        t.cuda.empty_cache(),
        t.cuda.memory_allocated(),
        t.cuda.max_memory_allocated(),
        t.cuda.get_arch_list(),
        t.version.cuda,
    ),
    "accelerator": lambda t: (
        t.accelerator.is_available(),
        t.accelerator.current_accelerator(),
        t.accelerator.device_count(),
    ),
    "backends": lambda t: (
        t.backends.cudnn.enabled,
        t.backends.cudnn.benchmark,
        t.backends.cudnn.deterministic,
        t.backends.cudnn.allow_tf32,
        t.backends.cudnn.version(),
        t.backends.cuda.matmul.allow_tf32,
        t.backends.cuda.is_built(),
        t.backends.mps.is_available(),
        t.backends.mps.is_built(),
    ),
    "default device": lambda t: (t.get_default_device(), t.set_default_device("cpu"), t.set_default_device(None)),
    "default device of a block": lambda t: _in_block(t),
    "switches": lambda t: (t.are_deterministic_algorithms_enabled(), t.use_deterministic_algorithms(False)),
    "precision": lambda t: _precision(t),
    "compile": lambda t: t.compile(lambda x: x + 1, backend="eager")(t.ones(2)),
    "compile as a decorator": lambda t: t.compile(backend="eager")(lambda x: x * 3)(t.ones(2)),
    "jit": lambda t: (t.jit.is_scripting(), t.jit.is_tracing()),
    "autocast that is off": lambda t: _autocast(t),
    "fork_rng": lambda t: _forked(t),
    "default dtype": lambda t: _default_dtype(t),
}


def _variables(t):
    data = t.zeros(3)
    made = t.autograd.Variable(data, requires_grad=True)
    data[0] = 5
    return (
        made,
        data.requires_grad,
        isinstance(data, t.autograd.Variable),
        t.autograd.Variable(made * 2),
        t.autograd.Variable(),
    )


def _in_block(t):
    with t.device("cpu") as device:
        return t.ones(1).device == device, t.get_default_device()


def _autocast(t):
    with t.autocast("cpu", enabled=False):
        return (t.ones(2, 2) @ t.ones(2, 2)).dtype == t.float32, t.is_autocast_enabled()


def _precision(t):
    t.set_float32_matmul_precision("high")
    found = t.get_float32_matmul_precision()
    t.set_float32_matmul_precision("highest")
    return found, t.get_float32_matmul_precision()


def test_both_settings_of_the_precision_of_products_are_one() -> None:
    """torch 2.13 raises where a program uses the older one after the newer."""
    lazytorch.set_float32_matmul_precision("high")
    assert lazytorch.backends.cuda.matmul.allow_tf32
    lazytorch.backends.cuda.matmul.allow_tf32 = False
    assert lazytorch.get_float32_matmul_precision() == "highest"


def _forked(t):
    t.manual_seed(0)
    with t.random.fork_rng():
        t.rand(3)
    return t.rand(2)


def _default_dtype(t):
    try:
        t.set_default_tensor_type(t.DoubleTensor)
        return t.get_default_dtype(), t.ones(1), t.Tensor([1]), t.finfo()
    finally:
        t.set_default_dtype(t.float32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_is_torchs(name: str) -> None:
    assert repr(ANSWERS[name](lazytorch)) == repr(ANSWERS[name](oracle))


WRONG = {
    "finfo of integers": lambda t: t.finfo(t.int64),
    "iinfo of floats": lambda t: t.iinfo(t.float32),
    "a number as data": lambda t: t.Tensor(3.5),
    "ragged data": lambda t: t.Tensor([[1, 2], [3]]),
    "a tensor of another type": lambda t: t.LongTensor(t.ones(2)),
    "a variable of a list": lambda t: t.autograd.Variable([1, 2]),
    "a keyword": lambda t: t.Tensor(5, dtype=t.float64),
    "a cuda class": lambda t: t.cuda.FloatTensor([1]),
    "an unknown type": lambda t: t.ones(1).type("torch.NoTensor"),
    "cuda synchronize": lambda t: t.cuda.synchronize(),
    "cuda device": lambda t: t.cuda.current_device(),
    "cuda name": lambda t: t.cuda.get_device_name(0),
    "a tensor on cuda": lambda t: t.ones(1, device="cuda"),
    "moving to cuda": lambda t: t.ones(1).to("cuda"),
    "accelerator synchronize": lambda t: t.accelerator.synchronize(),
    "an integer default": lambda t: t.set_default_dtype(t.int64),
    "truth of several": lambda t: t.is_nonzero(t.ones(2)),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine[:36] == theirs[:36]


def test_a_default_device_that_is_not_here_is_refused_when_it_is_used() -> None:
    with pytest.raises(AssertionError, match="CUDA"), lazytorch.device("cuda"):
        lazytorch.ones(1)
    assert lazytorch.ones(1).device == lazytorch.device("cpu")


@pytest.mark.filterwarnings("ignore:CUDA is not available", "ignore:torch.cuda.amp")
def test_mixed_precision_without_cuda_passes_everything_through() -> None:
    for t in (oracle, lazytorch):
        scaler = t.amp.GradScaler("cuda")
        x = t.ones(2, requires_grad=True)
        with t.autocast("cuda", dtype=t.float16):
            scaler.scale((x * 2).sum()).backward()
        assert x.grad.tolist() == [2, 2]
        assert (scaler.is_enabled(), scaler.get_scale(), scaler.state_dict()) == (False, 1.0, {})


def test_a_gradient_scaler_leaves_out_bad_steps() -> None:
    for t in (oracle, lazytorch):
        scaler = t.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        x = t.ones(2, requires_grad=True)
        optimizer = t.optim.SGD([x], lr=0.5)
        scales = []
        for factor in (1.0, float("inf"), 1.0, 1.0):
            optimizer.zero_grad()
            scaler.scale((x * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        assert x.tolist() == [-0.5, -0.5]
        assert scales == [8.0, 4.0, 4.0, 8.0]


def test_autocast_on_the_cpu_narrows_products_and_widens_losses_as_torch() -> None:
    def run(t):
        t.manual_seed(0)
        model = t.nn.Sequential(t.nn.Linear(8, 16), t.nn.ReLU(), t.nn.LayerNorm(16), t.nn.Linear(16, 4))
        x, images = t.randn(5, 8), t.ones(1, 2, 5)
        with t.autocast("cpu", dtype=t.bfloat16):
            y = model(x)
            loss = t.nn.functional.cross_entropy(y, t.arange(5) % 4)
            products = [
                x @ x.T,
                t.addmm(x[:, :5], x[:, :5], x[:5, :5]),
                t.nn.Conv1d(2, 3, 3)(images),
                x.double() @ x.double().T,
            ]
            others = [t.nn.MultiheadAttention(8, 2)(x, x, x)[0], t.nn.LSTM(8, 3)(x)[0]]
            others += [x + x, t.nn.MSELoss()(y, y), t.softmax(y, -1), y * x[:, :4]]
            with t.autocast("cpu", enabled=False):
                others.append(x @ x.T)
            state = t.is_autocast_enabled("cpu")
        loss.backward()
        dtypes = [str(z.dtype) for z in (y, loss, *products, *others, x @ x.T, model[0].weight.grad)]
        return dtypes, state, t.is_autocast_enabled("cpu"), loss.item(), model[0].weight.grad.numpy()

    got, want = run(lazytorch), run(oracle)
    assert got[:3] == want[:3]
    assert got[3] == pytest.approx(want[3], rel=2e-2)
    np.testing.assert_allclose(got[4], want[4], atol=2e-2)


def test_autocast_on_the_cpu_to_a_wide_type_warns_and_does_nothing() -> None:
    with (
        pytest.warns(UserWarning, match="target dtype is not supported"),
        lazytorch.autocast("cpu", dtype=lazytorch.float64),
    ):
        assert (lazytorch.ones(2, 2) @ lazytorch.ones(2, 2)).dtype is lazytorch.float32
