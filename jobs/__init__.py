"""What is asked for, and when: specs, the command line, the schedule."""
