"""What sets a dialplan's escalations off: facts of a call, judged one by one; pure but for `verdicts` and `silence`."""
