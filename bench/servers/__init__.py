"""The servers behind what is measured."""
