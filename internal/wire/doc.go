// Package wire carries Locust's messages between a master and its workers.
//
// A [Message] is what Locust packs with msgpack: a type, data and the worker's id. [Decode] gives the
// data of every message that Locust knows a Go type of its own ([ClientReady], [Stats], [Spawn], …)
// and passes everything else through as plain values. Decoding is tolerant of what other peers leave
// out, add or write differently, and bounded in memory whatever the bytes are.
//
// A [Router] is the master's socket, a [Dealer] the worker's: ZeroMQ's ROUTER and DEALER over TCP,
// enough of ZMTP 3.1 for libzmq at the other end, with deadlines and bounded queues. A peer that is
// silent, slow or sends garbage costs itself only. With a secret ([NewSecret]) both ends speak TLS
// and prove that they know it before a message is read.
//
// Workers of this program add a [Report] to the statistics that Locust expects: the same numbers
// exactly, in sequence, so that a master knows which report is missing.
package wire
