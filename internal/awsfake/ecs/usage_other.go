//go:build !linux

package ecs

// usageOf knows nothing of a running process here; what it used is known at its end.
func usageOf(int) usage { return usage{} }
