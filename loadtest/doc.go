// Package loadtest runs simulated users against whatever their code calls, and measures it.
//
// A [UserClass] says what a kind of user does: tasks, chosen at random by weight or in turn, with a
// [WaitTime] after each. A [Runner] starts users at a spawn rate, lets them work for a time or as a
// [Shape] says, stops them gracefully and returns a snapshot of package stats. Names and rules are
// Locust's.
//
// Tasks are Go functions that may block. A user that waits holds no goroutine: it is a small struct
// in a timer structure, so that a process can hold a million of them. Users run in parallel on all
// cores; one user runs on one goroutine at a time, so its own state needs no lock.
//
// The three layers can be used apart: a [Dispatcher] decides which class starts where, a [Swarm]
// runs the users of a process, and a [Runner] is a whole local run.
package loadtest
