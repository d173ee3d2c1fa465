"""The Tierwise service: decides which model tier should answer a prompt."""
