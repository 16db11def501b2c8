"""Everything that happens while a program runs: devices, memory, threads, loading and running compiled code."""
