"""Where texts come from: examples, noise, files, the data folder, the hub, tasks, PLMs and what they write."""
