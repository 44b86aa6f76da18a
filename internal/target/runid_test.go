package target

import (
	"regexp"
	"testing"
	"time"
)

func TestRunIDsSortByTimeAndAreUnique(t *testing.T) {
	start := time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)
	last := ""
	for i := range 1000 {
		id := NewRunID(start.Add(time.Duration(i) * time.Millisecond))
		if id <= last {
			t.Fatalf("run id %q of a later time does not sort after %q", id, last)
		}
		if !regexp.MustCompile(`^[a-z0-9]{18}$`).MatchString(id) {
			t.Fatalf("run id %q has other characters than lower case letters and digits", id)
		}
		last = id
	}
	if a, b := NewRunID(start), NewRunID(start); a == b {
		t.Fatalf("two runs of one millisecond share the id %q", a)
	}
}
