package metrics_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

// clock is set by the test.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newService(t *testing.T) (*metrics.Service, *clock, *cloudwatch.Client) {
	c := &clock{begin}
	s := metrics.New(c.now)
	client := cloudwatch.NewFromConfig(protocoltest.Serve(t, s.API()))
	return s, c, client
}

func table(names ...string) []types.Dimension {
	d := []types.Dimension{{Name: aws.String("TableName"), Value: aws.String("limiter")}}
	for i := 0; i < len(names); i += 2 {
		d = append(d, types.Dimension{Name: &names[i], Value: &names[i+1]})
	}
	return d
}

func stat(id, metric, statistic string, period int32, dimensions []types.Dimension) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Metric: &types.Metric{Namespace: aws.String("AWS/DynamoDB"), MetricName: &metric, Dimensions: dimensions}, Period: &period, Stat: &statistic,
	}}
}

func TestValuesAreReadByTheMinute(t *testing.T) {
	s, c, client := newService(t)
	consumed := s.Series("AWS/DynamoDB", "ConsumedWriteCapacityUnits", map[string]string{"TableName": "limiter"})
	for minute := range 3 {
		c.at = begin.Add(time.Duration(minute)*time.Minute + 10*time.Second)
		for range 60 * (minute + 1) {
			consumed.Add("Count", 1)
		}
	}
	c.at = begin
	s.Record("AWS/DynamoDB", "ThrottledRequests", "Count", map[string]string{"TableName": "limiter", "Operation": "UpdateItem"}, 4)
	in := &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(10 * time.Minute)), ScanBy: types.ScanByTimestampAscending,
		MetricDataQueries: []types.MetricDataQuery{
			stat("m1", "ConsumedWriteCapacityUnits", "Sum", 60, table()),
			{Id: aws.String("rate"), Expression: aws.String("m1/60")},
			{Id: aws.String("filled"), Expression: aws.String("FILL(hit,0) + m1*(1 - 1)")},
			{Id: aws.String("same"), Expression: aws.String("m1 / PERIOD(m1)"), ReturnData: aws.Bool(false)},
			stat("none", "ThrottledRequests", "Sum", 60, table()),
			stat("hit", "ThrottledRequests", "Sum", 60, table("Operation", "UpdateItem")),
			stat("two", "ConsumedWriteCapacityUnits", "SampleCount", 120, table()),
		},
	}
	out, err := client.GetMetricData(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]float64{"m1": {60, 120, 180}, "rate": {1, 2, 3}, "filled": {4, 0, 0}, "none": {}, "hit": {4}, "two": {180, 180}}
	if len(out.MetricDataResults) != len(want) {
		t.Errorf("%d results, want %d", len(out.MetricDataResults), len(want))
	}
	for _, result := range out.MetricDataResults {
		if !slices.Equal(result.Values, want[*result.Id]) || result.StatusCode != types.StatusCodeComplete {
			t.Errorf("%s: %v (%s), want %v", *result.Id, result.Values, result.StatusCode, want[*result.Id])
		}
		for i, at := range result.Timestamps {
			if i == 0 && !at.Equal(begin) {
				t.Errorf("%s begins at %s", *result.Id, at)
			}
		}
	}

	in.MaxDatapoints = aws.Int32(4)
	in.MetricDataQueries = in.MetricDataQueries[:2]
	paged := map[string][]float64{}
	for pages := cloudwatch.NewGetMetricDataPaginator(client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, result := range page.MetricDataResults {
			paged[*result.Id] = append(paged[*result.Id], result.Values...)
		}
	}
	if !slices.Equal(paged["m1"], want["m1"]) || !slices.Equal(paged["rate"], want["rate"]) {
		t.Errorf("in pages: %v", paged)
	}
}

func TestStatisticsOfAPeriod(t *testing.T) {
	s, _, client := newService(t)
	for i := range 100 {
		s.Record("AWS/DynamoDB", "SuccessfulRequestLatency", "Milliseconds", map[string]string{"TableName": "limiter", "Operation": "UpdateItem"}, float64(i+1))
	}
	in := &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/DynamoDB"), MetricName: aws.String("SuccessfulRequestLatency"), Dimensions: table("Operation", "UpdateItem"),
		StartTime: aws.Time(begin.Add(30 * time.Second)), EndTime: aws.Time(begin.Add(time.Minute)), Period: aws.Int32(60),
		Statistics: []types.Statistic{types.StatisticAverage, types.StatisticMaximum, types.StatisticMinimum, types.StatisticSum, types.StatisticSampleCount},
	}
	out, err := client.GetMetricStatistics(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Datapoints) != 1 {
		t.Fatalf("datapoints %v", out.Datapoints)
	}
	if p := out.Datapoints[0]; *p.Average != 50.5 || *p.Maximum != 100 || *p.Minimum != 1 || *p.Sum != 5050 || *p.SampleCount != 100 || p.Unit != types.StandardUnitMilliseconds || !p.Timestamp.Equal(begin) {
		t.Errorf("average %g, maximum %g, minimum %g, sum %g, count %g, unit %s, at %s", *p.Average, *p.Maximum, *p.Minimum, *p.Sum, *p.SampleCount, p.Unit, p.Timestamp)
	}
	in.Statistics, in.ExtendedStatistics = nil, []string{"p50", "p99"}
	if out, err = client.GetMetricStatistics(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"p50": 50, "p99": 99} {
		if got := out.Datapoints[0].ExtendedStatistics[name]; math.Abs(got-want) > want*0.01 {
			t.Errorf("%s = %g, want %g within 1 %%", name, got, want)
		}
	}
}

// The command line client of other generations asks by form and reads XML.
func TestStatisticsAreAskedForByForm(t *testing.T) {
	s, _, _ := newService(t)
	s.Record("ECS/ContainerInsights", "CpuUtilized", "None", map[string]string{"ClusterName": "limiter-load"}, 512)
	server := httptest.NewServer(&protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: []protocol.Service{s.API()}})
	t.Cleanup(server.Close)
	form := url.Values{
		"Action": {"GetMetricStatistics"}, "Version": {"2010-08-01"}, "Namespace": {"ECS/ContainerInsights"}, "MetricName": {"CpuUtilized"},
		"Dimensions.member.1.Name": {"ClusterName"}, "Dimensions.member.1.Value": {"limiter-load"}, "Period": {"60"}, "Statistics.member.1": {"Average"},
		"StartTime": {begin.Format(time.RFC3339)}, "EndTime": {begin.Add(time.Minute).Format(time.RFC3339)},
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260301/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got struct {
		Points []struct {
			Timestamp time.Time
			Average   float64
			Unit      string
		} `xml:"GetMetricStatisticsResult>Datapoints>member"`
	}
	if err := xml.NewDecoder(answer.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Points) != 1 || got.Points[0].Average != 512 || !got.Points[0].Timestamp.Equal(begin) || got.Points[0].Unit != "None" {
		t.Errorf("status %d, points %+v", answer.StatusCode, got.Points)
	}
}

func TestPutValuesAreListed(t *testing.T) {
	s, _, client := newService(t)
	s.Series("AWS/Lambda", "Errors", map[string]string{"FunctionName": "f"}) // without a value it is not there
	_, err := client.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("Test"), MetricData: []types.MetricDatum{
		{MetricName: aws.String("m"), Dimensions: table(), Value: aws.Float64(2), Unit: types.StandardUnitCount},
		{MetricName: aws.String("m"), Dimensions: table(), Values: []float64{1, 3}, Counts: []float64{2, 1}},
		{MetricName: aws.String("m"), Dimensions: table(), StatisticValues: &types.StatisticSet{SampleCount: aws.Float64(2), Sum: aws.Float64(10), Minimum: aws.Float64(4), Maximum: aws.Float64(6)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: aws.String("TableName")}}})
	if err != nil || len(out.Metrics) != 1 || *out.Metrics[0].MetricName != "m" {
		t.Errorf("metrics %v, %v", out, err)
	}
	all, err := client.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{})
	if err != nil || len(all.Metrics) != 1 {
		t.Errorf("all metrics %v, %v", all, err)
	}
	q := stat("m", "m", "Sum", 60, table())
	q.MetricStat.Metric.Namespace = aws.String("Test")
	data, err := client.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), MetricDataQueries: []types.MetricDataQuery{q}})
	if err != nil || !slices.Equal(data.MetricDataResults[0].Values, []float64{17}) {
		t.Errorf("sum %v, %v", data, err)
	}
}

func TestQueriesThatAreWrong(t *testing.T) {
	_, _, client := newService(t)
	for name, queries := range map[string][]types.MetricDataQuery{
		"id":        {stat("M1", "m", "Sum", 60, nil)},
		"twice":     {stat("m", "m", "Sum", 60, nil), stat("m", "m", "Sum", 60, nil)},
		"statistic": {stat("m", "m", "Median", 60, nil)},
		"circle":    {{Id: aws.String("a"), Expression: aws.String("b")}, {Id: aws.String("b"), Expression: aws.String("a")}},
		"unknown":   {{Id: aws.String("a"), Expression: aws.String("x*2")}},
		"syntax":    {stat("m", "m", "Sum", 60, nil), {Id: aws.String("a"), Expression: aws.String("m +")}},
		"search":    {{Id: aws.String("a"), Expression: aws.String("SEARCH('{AWS/DynamoDB}', 'Sum')")}},
		"constant":  {{Id: aws.String("a"), Expression: aws.String("1+1")}},
		"many":      make([]types.MetricDataQuery, 0, 501),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "many" {
				for i := range 501 {
					queries = append(queries, stat(fmt.Sprintf("m%d", i), "m", "Sum", 60, nil))
				}
			}
			_, err := client.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), MetricDataQueries: queries})
			if refused, ok := errors.AsType[smithy.APIError](err); !ok || refused.ErrorCode() != "ValidationError" {
				t.Errorf("error %v, want ValidationError", err)
			}
		})
	}
}
