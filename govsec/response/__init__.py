"""What is done about an incident: playbooks, the engine that carries them out, and the small root program it asks."""
