from lazytorch.nn.utils import rnn

__all__ = ["rnn"]
