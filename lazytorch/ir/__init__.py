"""The intermediate representation: types, operations, dialects, text, passes, reference interpreter. Knows no Tensor."""
