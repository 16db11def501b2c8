"""The passes over functions, one file each. `ir/pass_manager.py` runs them by name."""
