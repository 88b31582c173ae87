"""What is asked of cells alone, whose state has no linear transition."""
