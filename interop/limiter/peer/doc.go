// Package peer runs Python's zae-limiter beside ours on one table, with one clock that a test moves.
package peer
