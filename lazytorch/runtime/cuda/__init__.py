"""CUDA devices: discovered, planned for and run on. Imported only when a program first names one."""
