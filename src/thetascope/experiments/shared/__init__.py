"""What several experiments share: paths through a training, planes, patterns, studies of sizes."""
