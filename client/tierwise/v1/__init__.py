"""Generated from proto/tierwise/v1. Run make proto."""
