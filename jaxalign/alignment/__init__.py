"""How alike two representations are: rank-based and geometric measures of pairs, and of all pairs of an ensemble."""
