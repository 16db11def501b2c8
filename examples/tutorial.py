"""Tensors and autograd in a minute: runs with PyTorch, and with `python -m lazytorch run examples/tutorial.py`."""

import torch

torch.manual_seed(0)

print("-- tensors")
x = torch.tensor([[1, 2], [3, 4]])
print(x, x.shape, x.dtype)
print(torch.rand(2, 3))
print(torch.randn(2, 20))
print(torch.zeros(2, 2, dtype=torch.float64), torch.ones(3), torch.eye(2))
print(torch.arange(0, 1, 0.25), torch.linspace(0, 1, 5))

print("-- operations")
a = torch.rand(4, 4)
print(a[0], a[:, -1], a[1:3, ::2])
a[:, 1] = 0
print(a)
print(torch.cat([a, a], dim=1).shape, (a @ a.T).sum(), a.mean(dim=0), a.max())
print(a > 0.5, a[a > 0.5])
b = torch.ones(5)
n = b.numpy()
b.add_(1)
print(b, n)
print(torch.tensor([1e-8, 1.0, 1e8]), torch.tensor([float("nan"), float("inf")]))

print("-- autograd")
w = torch.tensor([2.0, 3.0], requires_grad=True)
v = torch.tensor([6.0, 4.0], requires_grad=True)
q = 3 * w**3 - v**2
print(q, w, w.is_leaf)
q.backward(gradient=torch.tensor([1.0, 1.0]))
print(w.grad, v.grad, 9 * w**2 == w.grad, -2 * v == v.grad)
z = torch.nn.functional.relu(torch.matmul(torch.ones(1, 3), torch.ones(3, 2, requires_grad=True)))
print(z, z.grad_fn is not None)
with torch.no_grad():
    print((w * 2).requires_grad)

print("-- a network")
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
print(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
inputs, targets = torch.randn(16, 4), torch.randn(16, 1)
for step in range(5):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.4f}")
