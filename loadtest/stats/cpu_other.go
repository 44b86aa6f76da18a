//go:build !unix

package stats

import "time"

// processCPUTime is not known on this system.
func processCPUTime() (time.Duration, bool) { return 0, false }
