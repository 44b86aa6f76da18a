package dynamolocal

import (
	"testing"
	"time"
)

func TestLatenessIsCorrectedInTheMean(t *testing.T) {
	var l lateness
	const late = 80 * time.Microsecond
	for range 1000 {
		l.learn(late - l.mean())
	}
	if got := l.mean(); got < late-time.Microsecond || got > late {
		t.Errorf("correction %v after a steady lateness of %v", got, late)
	}
	for range 10_000 {
		l.learn(time.Second)
	}
	if got := l.mean(); got != mostLateness {
		t.Errorf("correction %v, want at most %v", got, mostLateness)
	}
	for range 10_000 {
		l.learn(-time.Second)
	}
	if got := l.mean(); got != 0 {
		t.Errorf("correction %v for replies that were early", got)
	}
}
