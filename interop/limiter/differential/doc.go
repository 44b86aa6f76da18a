// Package differential has a test only: the same random operations on our limiter and on Python's zae-limiter
// 0.17.0, each with a table of its own and one clock for both, must give the same answers and the same items.
// Where ours is meant to differ is in the list of deviations, which are counted by name. The test needs the build
// tag interop and the interpreter that interop/run installs.
package differential
