package metrics

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func (s *Service) putMetricData(_ context.Context, call *protocol.Call, in *cloudwatch.PutMetricDataInput) (*cloudwatch.PutMetricDataOutput, error) {
	namespace := aws.ToString(in.Namespace)
	if err := call.AllowIf("cloudwatch:PutMetricData", map[string]string{"cloudwatch:namespace": namespace}); err != nil {
		return nil, err
	}
	if namespace == "" || strings.HasPrefix(namespace, "AWS/") {
		return nil, protocol.Errorf("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
	}
	for _, datum := range in.MetricData {
		if err := s.put(namespace, datum); err != nil {
			return nil, err
		}
	}
	return &cloudwatch.PutMetricDataOutput{}, nil
}

func (s *Service) put(namespace string, datum types.MetricDatum) error {
	dimensions, err := dimensionsOf(datum.Dimensions)
	if err != nil {
		return err
	}
	if len(datum.Counts) > 0 && len(datum.Counts) != len(datum.Values) {
		return protocol.Errorf("InvalidParameterValue", "The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size.")
	}
	at := s.now()
	if datum.Timestamp != nil {
		at = *datum.Timestamp
	}
	series := s.Series(namespace, aws.ToString(datum.MetricName), dimensions)
	series.add(at, datum.Unit, func(sum *summary) {
		if datum.Value != nil {
			sum.add(*datum.Value, 1)
		}
		for i, value := range datum.Values {
			count := 1.0
			if len(datum.Counts) > 0 {
				count = datum.Counts[i]
			}
			sum.add(value, count)
		}
		if set := datum.StatisticValues; set != nil {
			sum.addSet(aws.ToFloat64(set.Sum), aws.ToFloat64(set.SampleCount), aws.ToFloat64(set.Minimum), aws.ToFloat64(set.Maximum))
		}
	})
	return nil
}

func (s *Service) listMetrics(_ context.Context, call *protocol.Call, in *cloudwatch.ListMetricsInput) (*cloudwatch.ListMetricsOutput, error) {
	if err := call.Allow("cloudwatch:ListMetrics"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []types.Metric
	for _, key := range slices.Sorted(maps.Keys(s.series)) {
		series := s.series[key]
		if in.Namespace != nil && *in.Namespace != series.namespace || in.MetricName != nil && *in.MetricName != series.name ||
			!series.has(in.Dimensions) || series.empty() {
			continue
		}
		found = append(found, types.Metric{Namespace: &series.namespace, MetricName: &series.name, Dimensions: series.dimensions})
	}
	page, next, err := protocol.Page(found, in.NextToken, nil, 500)
	return &cloudwatch.ListMetricsOutput{Metrics: page, NextToken: next}, err
}

// has says whether the series has all dimensions of a filter; a filter without a value takes any.
func (m *Series) has(filters []types.DimensionFilter) bool {
	for _, filter := range filters {
		if !slices.ContainsFunc(m.dimensions, func(d types.Dimension) bool {
			return *d.Name == aws.ToString(filter.Name) && (filter.Value == nil || *d.Value == *filter.Value)
		}) {
			return false
		}
	}
	return true
}

// periodOf checks a period in seconds. High resolution is stored by the minute here.
func periodOf(seconds *int32) (time.Duration, error) {
	n := aws.ToInt32(seconds)
	switch {
	case n == 1 || n == 5 || n == 10 || n == 20 || n == 30:
		return minute, nil
	case n <= 0 || n%60 != 0:
		return 0, protocol.Errorf("InvalidParameterValue", "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60: %d", n)
	}
	return time.Duration(n) * time.Second, nil
}

// maxStatistics is how many points an answer of GetMetricStatistics may have.
const maxStatistics = 1440

func (s *Service) getMetricStatistics(_ context.Context, call *protocol.Call, in *cloudwatch.GetMetricStatisticsInput) (*cloudwatch.GetMetricStatisticsOutput, error) {
	if err := call.Allow("cloudwatch:GetMetricStatistics"); err != nil {
		return nil, err
	}
	period, err := periodOf(in.Period)
	if err != nil {
		return nil, err
	}
	start, end, err := span(in.StartTime, in.EndTime)
	if err != nil {
		return nil, err
	}
	if len(in.Statistics)+len(in.ExtendedStatistics) == 0 {
		return nil, protocol.Errorf("InvalidParameterCombination", "At least one of the parameters Statistics and ExtendedStatistics must be specified.")
	}
	if n := end.Sub(start) / period; n > maxStatistics {
		return nil, protocol.Errorf("InvalidParameterCombination", "You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", n, maxStatistics)
	}
	dimensions, err := dimensionsOf(in.Dimensions)
	if err != nil {
		return nil, err
	}
	out := &cloudwatch.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []types.Datapoint{}}
	series := s.find(aws.ToString(in.Namespace), aws.ToString(in.MetricName), dimensions)
	if series == nil || !series.hasUnit(in.Unit) {
		return out, nil
	}
	for _, p := range series.points(start, end, period) {
		datapoint, err := p.datapoint(in.Statistics, in.ExtendedStatistics)
		if err != nil {
			return nil, err
		}
		datapoint.Unit = series.currentUnit()
		out.Datapoints = append(out.Datapoints, datapoint)
	}
	return out, nil
}

func (p point) datapoint(statistics []types.Statistic, extended []string) (types.Datapoint, error) {
	datapoint := types.Datapoint{Timestamp: &p.at}
	for _, name := range statistics {
		value, ok := p.statistic(string(name))
		if !ok {
			return datapoint, protocol.Errorf("InvalidParameterValue", "The value %s for parameter Statistics is invalid.", name)
		}
		switch name {
		case types.StatisticAverage:
			datapoint.Average = &value
		case types.StatisticSum:
			datapoint.Sum = &value
		case types.StatisticMinimum:
			datapoint.Minimum = &value
		case types.StatisticMaximum:
			datapoint.Maximum = &value
		case types.StatisticSampleCount:
			datapoint.SampleCount = &value
		}
	}
	for _, name := range extended {
		value, ok := p.statistic(name)
		if !ok {
			return datapoint, protocol.Errorf("InvalidParameterValue", "The value %s for parameter ExtendedStatistics is invalid.", name)
		}
		if datapoint.ExtendedStatistics == nil {
			datapoint.ExtendedStatistics = map[string]float64{}
		}
		datapoint.ExtendedStatistics[name] = value
	}
	return datapoint, nil
}

func span(start, end *time.Time) (from, to time.Time, err error) {
	if start == nil || end == nil {
		return from, to, protocol.Errorf("MissingParameter", "The request must contain the parameters StartTime and EndTime.")
	}
	if !start.Before(*end) {
		return from, to, protocol.Errorf("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
	}
	return *start, *end, nil
}
