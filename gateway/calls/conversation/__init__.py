"""Caller and model: the session a call has, its bridge to the media leg, and what passes over it."""
