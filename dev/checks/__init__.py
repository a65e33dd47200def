"""What holds the product to its promises beside its tests: searches, comparisons and inputs that nobody wrote."""
