"""What a person asks for: list, show, delete, clean, export, fetch, rebuild."""
