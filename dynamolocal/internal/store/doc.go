// Package store holds the items of a table and its secondary indexes in memory.
//
// An item lives in a [Slot] whose current version is swapped atomically; versions are immutable.
// Indexes refer to slots and not to versions, so that a write which leaves an index key alone does
// not touch that index at all. Locks are striped by the HASH value: writes to different items
// proceed in parallel, and a transaction takes the stripes of all its items in order.
package store
