// Package mixed has a test only: processes of our limiter and of Python's zae-limiter 0.17.0 load one table at
// the same time, while quotas come back and shards double. No bucket may give more than it has, in no window of
// time, and the counters on the items must be what the processes were told. The test needs the build tag
// interop and the interpreter that interop/run installs.
package mixed
