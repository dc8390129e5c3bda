"""What starts runs: sensors and schedules."""
