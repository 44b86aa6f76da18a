package metrics

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// summary is what CloudWatch knows of the values of a period. Its zero value has none.
type summary struct {
	count, sum, min, max float64
	// buckets count values by the logarithm of their size, for percentiles: each is 1 % wide. Statistic
	// sets, which have no single values, are not in them.
	buckets map[int]float64
}

const bucketWidth = 1.01

// zeroBucket holds what has no logarithm.
const zeroBucket = math.MinInt32

func (s *summary) add(value, count float64) {
	s.addSet(value*count, count, value, value)
	if s.buckets == nil {
		s.buckets = map[int]float64{}
	}
	bucket := zeroBucket
	if value > 0 {
		bucket = int(math.Round(math.Log(value) / math.Log(bucketWidth)))
	}
	s.buckets[bucket] += count
}

func (s *summary) addSet(sum, count, least, most float64) {
	if s.count == 0 {
		s.min, s.max = least, most
	}
	s.min, s.max = min(s.min, least), max(s.max, most)
	s.count += count
	s.sum += sum
}

func (s *summary) merge(other *summary) {
	s.addSet(other.sum, other.count, other.min, other.max)
	for bucket, count := range other.buckets {
		if s.buckets == nil {
			s.buckets = map[int]float64{}
		}
		s.buckets[bucket] += count
	}
}

// statistic returns a statistic by its name: Average, Sum, Minimum, Maximum, SampleCount, or a
// percentile such as p99.9, which is exact to 1 %. ok is false when the name is none of these.
func (s *summary) statistic(name string) (value float64, ok bool) {
	switch name {
	case "Average":
		return s.sum / s.count, true
	case "Sum":
		return s.sum, true
	case "Minimum":
		return s.min, true
	case "Maximum":
		return s.max, true
	case "SampleCount":
		return s.count, true
	}
	percent, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
	if !strings.HasPrefix(name, "p") || err != nil || percent < 0 || percent > 100 {
		return 0, false
	}
	return s.percentile(percent), true
}

func (s *summary) percentile(percent float64) float64 {
	var total float64
	for _, count := range s.buckets {
		total += count
	}
	var below float64
	for _, bucket := range slices.Sorted(maps.Keys(s.buckets)) {
		if below += s.buckets[bucket]; below < total*percent/100 {
			continue
		}
		if bucket == zeroBucket {
			return s.min
		}
		return min(max(math.Pow(bucketWidth, float64(bucket)), s.min), s.max)
	}
	return s.max
}
