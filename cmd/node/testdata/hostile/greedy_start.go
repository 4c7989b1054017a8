package main

// greedyStart takes memory before it shakes hands.
func greedyStart() { allocate() }
