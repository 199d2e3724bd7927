"""What the dialplan says and hears by itself: texts, sounds and tones, and a caller's words that no model answers."""
