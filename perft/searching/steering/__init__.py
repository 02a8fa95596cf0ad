"""What steers a running search from outside: commands, budgets, the clock."""
