"""Actions of the dialplan that take their time: each a pure little machine that `Call` runs while it is ACTING."""
