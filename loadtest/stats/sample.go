package stats

import "time"

// Sample is one timed call.
type Sample struct {
	// Type and Name say which row the sample is counted in, such as ACQUIRE and the resource.
	Type, Name string
	// Start is when the call began, with its monotonic reading; Duration is how long it took.
	Start    time.Time
	Duration time.Duration
	// Err is the text of a failure; "" = the call succeeded. Equal failures should have equal texts.
	Err string
	// Depth is the number of sequential round trips that the call made, 0 when it is not known.
	Depth int
	// RateLimited marks a call that was refused because a limit was exceeded, which is no failure.
	RateLimited bool
	// Unreachable marks a failure to reach the target at all.
	Unreachable bool
	// Untimed marks a sample without a duration; it counts as a request only.
	Untimed bool
}

// End returns when the call ended.
func (s *Sample) End() time.Time { return s.Start.Add(s.Duration) }
