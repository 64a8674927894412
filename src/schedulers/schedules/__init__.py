"""What a model was trained with: its noise levels as functions of its own time."""
