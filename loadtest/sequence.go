package loadtest

import (
	"cmp"
	"math"
	"slices"
)

// classSequence yields class names for ever so that every prefix is spread as evenly as the weights
// allow: after n picks a class of weight w has the key w·log2((w+n)/(w+n+1)), and the class with the
// smallest key is next. It is Locust's rule, so that a run here starts the classes in the same order.
type classSequence struct {
	classes []sequenceClass
}

type sequenceClass struct {
	name   string
	weight float64
	next   float64 // w + n + 1
	key    float64
}

// newClassSequence takes classes with positive weights; others are left out.
func newClassSequence(weights map[string]float64) *classSequence {
	s := &classSequence{}
	for name, weight := range weights {
		if weight > 0 {
			next := weight + 1
			s.classes = append(s.classes, sequenceClass{name, weight, next, weight * math.Log2((next-1)/next)})
		}
	}
	return s
}

// pick returns the next class; ok is false when there is none at all.
func (s *classSequence) pick() (name string, ok bool) {
	if len(s.classes) == 0 {
		return "", false
	}
	best := 0
	for i := range s.classes {
		if s.classes[i].compare(&s.classes[best]) < 0 {
			best = i
		}
	}
	c := &s.classes[best]
	c.key = c.weight * math.Log2(c.next/(c.next+1))
	c.next++
	return c.name, true
}

func (c *sequenceClass) compare(other *sequenceClass) int {
	return cmp.Or(
		cmp.Compare(c.key, other.key),
		cmp.Compare(c.next, other.next),
		cmp.Compare(c.weight, other.weight),
		cmp.Compare(c.name, other.name),
	)
}

// take returns the first picks of a sequence over whole numbers as weights: as many of each class as
// its number says, interleaved.
func take(counts map[string]int) []string {
	weights := make(map[string]float64, len(counts))
	total := 0
	for name, n := range counts {
		if n > 0 {
			weights[name] = float64(n)
			total += n
		}
	}
	sequence := newClassSequence(weights)
	left := counts
	picks := make([]string, 0, total)
	for len(picks) < total {
		name, _ := sequence.pick()
		if left[name] == 0 {
			sequence.classes = slices.DeleteFunc(sequence.classes, func(c sequenceClass) bool { return c.name == name })
			continue
		}
		left[name]--
		picks = append(picks, name)
	}
	return picks
}
