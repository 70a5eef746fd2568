"""Look at any model and leave no trace."""
