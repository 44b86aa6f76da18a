//go:build !race

package locustfile

// slowdown divides what the tests repeat when the race detector watches them.
const slowdown = 1
