"""Pure measures of feature matrices: what training watches and evaluation reports."""
