"""What runs came to: comparisons, intervals, figures and the report."""
