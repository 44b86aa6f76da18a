package loadtest

import "time"

// Shape decides over the time of a run how many users there are. It is asked about once a second,
// from one goroutine.
type Shape interface {
	// Tick returns what is wanted now; ok is false to end the run.
	Tick(ShapeState) (step ShapeStep, ok bool, err error)
}

// ShapeState is what a shape may look at.
type ShapeState struct {
	RunTime time.Duration
	Users   int
	// RPS and P95 are of the last ten seconds.
	RPS float64
	P95 time.Duration
	// Seed is that of the run's random numbers.
	Seed uint64
}

// ShapeStep is what a shape wants.
type ShapeStep struct {
	Users     int
	SpawnRate float64
	// Classes restricts the users that are started; empty = all.
	Classes []string
}

// Stage is a part of a shape that lasts for a time of its own.
type Stage struct {
	Duration  time.Duration
	Users     int
	SpawnRate float64
	Classes   []string
}

type stages []Stage

// Stages is a shape of stages, one after the other; it ends after the last one.
func Stages(s ...Stage) Shape { return stages(s) }

func (s stages) Tick(state ShapeState) (ShapeStep, bool, error) {
	end := time.Duration(0)
	for _, stage := range s {
		end += stage.Duration
		if state.RunTime < end {
			return ShapeStep{stage.Users, stage.SpawnRate, stage.Classes}, true, nil
		}
	}
	return ShapeStep{}, false, nil
}
