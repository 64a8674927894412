"""What runs a table of weights: the table, the state of a run, its arrays and its noise."""
