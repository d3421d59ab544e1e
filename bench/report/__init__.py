"""From rows to tables, bars and plots."""
