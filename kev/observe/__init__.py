"""What is told of a run: timelines, traces, pages."""
