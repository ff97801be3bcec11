"""What a study will hold and take, before it starts."""
