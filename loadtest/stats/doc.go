// Package stats measures calls: a recorder a core takes samples, and a snapshot merges what all
// recorders hold into the one form that progress, reports and the wire read.
//
// Durations are counted in nanoseconds in a [Histogram] whose quantiles are exact to 1 % after any
// number of merges, while its minimum, maximum, count and sum are exact.
//
// A [Collector] owns the recorders of one process. Recording is safe from many goroutines and does
// not allocate once an entry is known; taking a snapshot briefly stops one recorder at a time.
package stats
