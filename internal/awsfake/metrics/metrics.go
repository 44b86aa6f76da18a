// Package metrics plays CloudWatch metrics: services of this machine record values, clients read them
// by the minute. A metric is its namespace, its name and exactly its dimensions, so that a query with
// other dimensions finds nothing, as in AWS.
package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const (
	// minute is the period of everything that is recorded.
	minute = time.Minute
	// retention is how long CloudWatch keeps values of one minute.
	retention = 15 * 24 * time.Hour
)

// Service holds metrics. It is safe for concurrent use.
type Service struct {
	now func() time.Time

	mu     sync.RWMutex
	series map[string]*Series
}

// Series is one metric, to which values are added. It is safe for concurrent use.
type Series struct {
	now             func() time.Time
	namespace, name string
	dimensions      []types.Dimension // by name

	mu      sync.Mutex
	unit    types.StandardUnit
	minutes map[int64]*summary // by minutes since 1970
}

// New returns a service without metrics; a nil clock is the machine's.
func New(now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{now: now, series: map[string]*Series{}}
}

// API returns the operations for the front.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "monitoring", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{
		"GetMetricData":       protocol.Op(s.getMetricData),
		"GetMetricStatistics": protocol.Op(s.getMetricStatistics),
		"ListMetrics":         protocol.Op(s.listMetrics),
		"PutMetricData":       protocol.Op(s.putMetricData),
	}}
}

// Series returns a metric. It shows in lists once it has a value. Who records often keeps it.
func (s *Service) Series(namespace, name string, dimensions map[string]string) *Series {
	key := keyOf(namespace, name, dimensions)
	s.mu.RLock()
	series := s.series[key]
	s.mu.RUnlock()
	if series != nil {
		return series
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if series = s.series[key]; series == nil {
		series = &Series{now: s.now, namespace: namespace, name: name, minutes: map[int64]*summary{}}
		for _, dimension := range slices.Sorted(maps.Keys(dimensions)) {
			value := dimensions[dimension]
			series.dimensions = append(series.dimensions, types.Dimension{Name: &dimension, Value: &value})
		}
		s.series[key] = series
	}
	return series
}

// Record adds one value, in a unit of CloudWatch such as Count or Milliseconds, at the present time.
func (s *Service) Record(namespace, name, unit string, dimensions map[string]string, value float64) {
	s.Series(namespace, name, dimensions).Add(unit, value)
}

// find returns a metric that has values, or nil.
func (s *Service) find(namespace, name string, dimensions map[string]string) *Series {
	s.mu.RLock()
	defer s.mu.RUnlock()
	series := s.series[keyOf(namespace, name, dimensions)]
	if series == nil || series.empty() {
		return nil
	}
	return series
}

func keyOf(namespace, name string, dimensions map[string]string) string {
	var key strings.Builder
	key.WriteString(namespace + "\x00" + name)
	for _, dimension := range slices.Sorted(maps.Keys(dimensions)) {
		key.WriteString("\x00" + dimension + "\x00" + dimensions[dimension])
	}
	return key.String()
}

// Add adds one value at the present time.
func (m *Series) Add(unit string, value float64) {
	m.add(m.now(), types.StandardUnit(unit), func(s *summary) { s.add(value, 1) })
}

// add changes the minute that a time lies in, and drops minutes that are too old when a new one begins.
func (m *Series) add(at time.Time, unit types.StandardUnit, change func(*summary)) {
	number := at.Unix() / 60
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unit = cmp.Or(unit, types.StandardUnitNone)
	s := m.minutes[number]
	if s == nil {
		s = &summary{}
		m.minutes[number] = s
		oldest := m.now().Add(-retention).Unix() / 60
		maps.DeleteFunc(m.minutes, func(number int64, _ *summary) bool { return number < oldest })
	}
	change(s)
}

func (m *Series) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.minutes) == 0
}

// currentUnit is the unit of the latest value.
func (m *Series) currentUnit() types.StandardUnit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unit
}

// hasUnit says whether the series is in the unit that a query asks for; no unit is any.
func (m *Series) hasUnit(unit types.StandardUnit) bool { return unit == "" || unit == m.currentUnit() }

// point is what was recorded in one period.
type point struct {
	at time.Time
	summary
}

// points returns the periods from start (which is rounded down to its minute) and before end that have
// values, by time.
func (m *Series) points(start, end time.Time, period time.Duration) []point {
	start = start.Truncate(minute)
	m.mu.Lock()
	defer m.mu.Unlock()
	merged := map[int64]*summary{}
	for number, s := range m.minutes {
		at := time.Unix(number*60, 0)
		if at.Before(start) || !at.Before(end) {
			continue
		}
		index := int64(at.Sub(start) / period)
		if merged[index] == nil {
			merged[index] = &summary{}
		}
		merged[index].merge(s)
	}
	points := make([]point, 0, len(merged))
	for _, index := range slices.Sorted(maps.Keys(merged)) {
		points = append(points, point{start.Add(time.Duration(index) * period).UTC(), *merged[index]})
	}
	return points
}

// dimensionsOf reads the dimensions of a request.
func dimensionsOf(dimensions []types.Dimension) (map[string]string, error) {
	read := map[string]string{}
	for _, d := range dimensions {
		if d.Name == nil || d.Value == nil || *d.Name == "" || *d.Value == "" {
			return nil, protocol.Errorf("InvalidParameterValue", "A dimension needs a name and a value.")
		}
		read[*d.Name] = *d.Value
	}
	if len(read) > 30 {
		return nil, protocol.Errorf("InvalidParameterValue", "The collection Dimensions must not have a size greater than 30.")
	}
	return read, nil
}
