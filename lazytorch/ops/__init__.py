"""One declaration per torch function, from which follow the function, the method, the in-place method and `out=`."""
