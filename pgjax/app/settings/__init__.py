"""What is asked for: settings, their ranges and presets, and what they make."""
