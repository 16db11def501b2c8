"""What torch.nn.functional offers, by concept; `lazytorch.nn.functional` gathers the names."""
