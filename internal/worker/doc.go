// Package worker joins a master and runs users as it says: a master of this program, or one of
// Locust, whose protocol both speak.
//
// The users run in a [loadtest.Swarm]. What they record goes to the master as exact differences of
// snapshots, numbered and kept until the master has confirmed them, or in Locust's terms to a master
// of Locust. Heartbeats come from a goroutine of their own, so that a busy processor delays them as
// little as possible.
package worker
