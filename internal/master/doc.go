// Package master controls a run over many workers: those of this program, Locust's and others that
// speak Locust's protocol, also mixed.
//
// It knows each worker's state from its messages and its connection, deals users to workers by
// Locust's rule, and merges what they report. A worker of this program reports exact differences in
// sequence: each counts once, and what is missing is stated in the coverage of the snapshot. From
// other workers it takes Locust's rows.
//
// The master is a state machine under one lock. Messages change it from the goroutines of their
// connections; one goroutine conducts the runs, one after the other.
package master
