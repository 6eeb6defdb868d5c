"""The coordinator's processes: control, bulk, commit."""
