"""What was learned: evaluation, pictures and exports of a trained policy."""
