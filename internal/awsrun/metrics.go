package awsrun

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// metricPeriod is the finest that the services publish.
const metricPeriod = time.Minute

// queriesMost is how many queries one call takes.
const queriesMost = 500

// index is the one index of the limiter's table that its writes reach.
const index = "GSI2"

// Metric is a metric to ask for (aws.md 5.8).
type Metric struct {
	// Label is our name for it, unit included.
	Label           string
	Namespace, Name string
	Dimensions      map[string]string
	Statistic       string
	// PerSecond divides a minute's sum by 60.
	PerSecond bool
}

// Series is a metric over time, minute by minute; minutes without a value are absent.
type Series struct {
	Metric
	Points []Point
}

// Point is the value of the minute that begins at At.
type Point struct {
	At    time.Time
	Value float64
}

// Last is the newest value; ok is false when there is none: absent is not zero.
func (s *Series) Last() (value float64, ok bool) {
	if len(s.Points) == 0 {
		return 0, false
	}
	return s.Points[len(s.Points)-1].Value, true
}

// Metrics are what a stack and its table are watched by.
func (s Stack) Metrics() []Metric {
	cluster := map[string]string{"ClusterName": s.Cluster(), "TaskDefinitionFamily": s.Family()}
	function := map[string]string{"FunctionName": s.Function()}
	table := map[string]string{"TableName": string(s)}
	gsi := map[string]string{"TableName": string(s), "GlobalSecondaryIndexName": index}
	metrics := []Metric{
		{Label: "task_cpu_units", Namespace: "ECS/ContainerInsights", Name: "CpuUtilized", Dimensions: cluster, Statistic: "Average"},
		{Label: "task_memory_mb", Namespace: "ECS/ContainerInsights", Name: "MemoryUtilized", Dimensions: cluster, Statistic: "Average"},
		{Label: "lambda_concurrent", Namespace: "AWS/Lambda", Name: "ConcurrentExecutions", Dimensions: function, Statistic: "Maximum"},
		{Label: "lambda_throttles", Namespace: "AWS/Lambda", Name: "Throttles", Dimensions: function, Statistic: "Sum"},
		{Label: "lambda_errors", Namespace: "AWS/Lambda", Name: "Errors", Dimensions: function, Statistic: "Sum"},
		{Label: "lambda_async_age_ms", Namespace: "AWS/Lambda", Name: "AsyncEventAge", Dimensions: function, Statistic: "Maximum"},
		{Label: "lambda_async_dropped", Namespace: "AWS/Lambda", Name: "AsyncEventsDropped", Dimensions: function, Statistic: "Sum"},
	}
	dynamo := func(label, name string, dimensions map[string]string, perSecond bool) {
		metrics = append(metrics, Metric{Label: label, Namespace: "AWS/DynamoDB", Name: name, Dimensions: dimensions, Statistic: "Sum", PerSecond: perSecond})
	}
	dynamo("table_read_units_per_second", "ConsumedReadCapacityUnits", table, true)
	dynamo("table_write_units_per_second", "ConsumedWriteCapacityUnits", table, true)
	dynamo("gsi2_write_units_per_second", "ConsumedWriteCapacityUnits", gsi, true)
	dynamo("table_read_throttles", "ReadThrottleEvents", table, false)
	dynamo("table_write_throttles", "WriteThrottleEvents", table, false)
	dynamo("gsi2_write_throttles", "WriteThrottleEvents", gsi, false)
	for _, cause := range []struct{ label, name string }{
		{"key_range", "KeyRangeThroughput"}, {"account", "AccountLimit"}, {"on_demand_maximum", "MaxOnDemandThroughput"},
	} {
		dynamo("table_read_throttles_"+cause.label, "Read"+cause.name+"ThrottleEvents", table, false)
		dynamo("table_write_throttles_"+cause.label, "Write"+cause.name+"ThrottleEvents", table, false)
	}
	for _, op := range []string{"GetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems"} {
		dimensions := map[string]string{"TableName": string(s), "Operation": op}
		metrics = append(metrics,
			Metric{Label: op + "_server_ms", Namespace: "AWS/DynamoDB", Name: "SuccessfulRequestLatency", Dimensions: dimensions, Statistic: "Average"},
			Metric{Label: op + "_throttled", Namespace: "AWS/DynamoDB", Name: "ThrottledRequests", Dimensions: dimensions, Statistic: "Sum"})
	}
	return metrics
}

// Watch reads metrics of an account. Safe for concurrent use.
type Watch struct{ client *cloudwatch.Client }

// NewWatch returns the metrics of an account.
func NewWatch(cfg aws.Config) *Watch { return &Watch{client: cloudwatch.NewFromConfig(cfg)} }

// Read returns the series of some metrics between two moments, in the order of the metrics. Values
// arrive one to three minutes late.
func (w *Watch) Read(ctx context.Context, metrics []Metric, from, to time.Time) ([]Series, error) {
	series := make([]Series, len(metrics))
	queries := make([]types.MetricDataQuery, len(metrics))
	places := map[string]int{}
	for i, m := range metrics {
		series[i].Metric = m
		id := fmt.Sprintf("m%d", i)
		places[id] = i
		queries[i] = m.query(id)
	}
	for chunk := range slices.Chunk(queries, queriesMost) {
		in := &cloudwatch.GetMetricDataInput{
			MetricDataQueries: chunk, ScanBy: types.ScanByTimestampAscending,
			StartTime: aws.Time(from.Truncate(metricPeriod)), EndTime: aws.Time(to),
		}
		pages := cloudwatch.NewGetMetricDataPaginator(w.client, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("read metrics: %w", err)
			}
			for _, result := range page.MetricDataResults {
				place, ok := places[aws.ToString(result.Id)]
				if !ok || len(result.Timestamps) != len(result.Values) {
					continue
				}
				series[place].add(result.Timestamps, result.Values)
			}
		}
	}
	return series, nil
}

func (m *Metric) query(id string) types.MetricDataQuery {
	metric := &types.Metric{Namespace: aws.String(m.Namespace), MetricName: aws.String(m.Name)}
	for _, name := range sortedKeys(m.Dimensions) {
		metric.Dimensions = append(metric.Dimensions, types.Dimension{Name: aws.String(name), Value: aws.String(m.Dimensions[name])})
	}
	return types.MetricDataQuery{Id: aws.String(id), MetricStat: &types.MetricStat{
		Metric: metric, Period: aws.Int32(int32(metricPeriod / time.Second)), Stat: aws.String(m.Statistic),
	}}
}

func (s *Series) add(at []time.Time, values []float64) {
	for i, value := range values {
		if s.PerSecond {
			value /= metricPeriod.Seconds()
		}
		s.Points = append(s.Points, Point{At: at[i], Value: value})
	}
}

// Section is the part of a result document that holds what CloudWatch says about the run.
type Section struct {
	PeriodSeconds int `json:"period_seconds"`
	// CompleteUntilSeconds is the end, in seconds of the run, of the last minute that any metric has:
	// later ones may still arrive. It is null when none has.
	CompleteUntilSeconds *float64        `json:"complete_until_seconds"`
	Series               []SectionSeries `json:"series"`
}

// SectionSeries is one metric by the time of the run.
type SectionSeries struct {
	Label      string            `json:"label"`
	Namespace  string            `json:"namespace"`
	Metric     string            `json:"metric"`
	Dimensions map[string]string `json:"dimensions"`
	Statistic  string            `json:"statistic"`
	Points     []SectionPoint    `json:"points"`
}

// SectionPoint is the value of a minute; TSeconds is when it begins, in seconds of the run. The first
// minute usually begins before the run.
type SectionPoint struct {
	TSeconds float64 `json:"t_seconds"`
	Value    float64 `json:"value"`
}

// Join places series at the time of a run that began at started. Metrics without a value are left out.
func Join(series []Series, started time.Time) *Section {
	section := &Section{PeriodSeconds: int(metricPeriod / time.Second), Series: []SectionSeries{}}
	for _, s := range series {
		if len(s.Points) == 0 {
			continue
		}
		joined := SectionSeries{Label: s.Label, Namespace: s.Namespace, Metric: s.Name, Dimensions: s.Dimensions, Statistic: s.Statistic}
		for _, p := range s.Points {
			t := p.At.Sub(started).Seconds()
			joined.Points = append(joined.Points, SectionPoint{TSeconds: t, Value: p.Value})
			if end := t + metricPeriod.Seconds(); section.CompleteUntilSeconds == nil || end > *section.CompleteUntilSeconds {
				section.CompleteUntilSeconds = &end
			}
		}
		section.Series = append(section.Series, joined)
	}
	return section
}
