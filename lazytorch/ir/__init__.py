"""The intermediate representation: types, operations, dialects, text, passes, interpreter. Knows no Tensor."""
