"""Transfers: who may be dialled, each attempt as a machine, our call to the contact, and what they hear of it."""
