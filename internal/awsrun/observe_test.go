package awsrun

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func TestFollowedLinesComeOnce(t *testing.T) {
	clock := newJumpClock()
	event := func(id string, seconds int, text string) logtypes.FilteredLogEvent {
		return logtypes.FilteredLogEvent{EventId: aws.String(id), Timestamp: aws.Int64(clock.Now().Add(time.Duration(seconds) * time.Second).UnixMilli()), Message: aws.String(text)}
	}
	all := []logtypes.FilteredLogEvent{event("1", 0, "one"), event("2", 1, "two")}
	late := []logtypes.FilteredLogEvent{event("3", 30, "three"), event("4", 25, "late")}
	ctx, end := context.WithCancelCause(t.Context())
	polls := 0
	logs := NewLogs(double{"FilterLogEvents": func(in any) (any, error) {
		since := aws.ToInt64(in.(*cloudwatchlogs.FilterLogEventsInput).StartTime)
		out := &cloudwatchlogs.FilterLogEventsOutput{}
		for _, e := range all {
			if *e.Timestamp >= since {
				out.Events = append(out.Events, e)
			}
		}
		return out, nil
	}}.config(t), clock)
	clock.slept = func(time.Time) {
		if polls++; polls <= len(late) {
			all = append(all, late[polls-1])
		} else if polls > 4 {
			end(errors.New("enough"))
		}
	}
	var lines []string
	err := logs.Follow(ctx, Stack("my").MasterLog("t"), clock.Now(), func(l Line) error {
		lines = append(lines, l.Text)
		return nil
	})
	if err == nil || err.Error() != "enough" || !slices.Equal(lines, []string{"one", "two", "three", "late"}) {
		t.Errorf("lines %v, error %v", lines, err)
	}
}

func TestTheLastLinesOfALog(t *testing.T) {
	logs := NewLogs(double{"FilterLogEvents": func(in any) (any, error) {
		if prefix := aws.ToString(in.(*cloudwatchlogs.FilterLogEventsInput).LogStreamNamePrefix); prefix != "master/locust-master/t1" {
			t.Errorf("prefix %s", prefix)
		}
		out := &cloudwatchlogs.FilterLogEventsOutput{}
		for _, text := range []string{"a", "b", "c"} {
			out.Events = append(out.Events, logtypes.FilteredLogEvent{Message: aws.String(text)})
		}
		return out, nil
	}}.config(t), nil)
	lines, err := logs.Last(t.Context(), Stack("my").MasterLog("t1"), time.Time{}, 2)
	if err != nil || !slices.Equal(lines, []string{"b", "c"}) {
		t.Errorf("lines %v, error %v", lines, err)
	}
}

func TestMetricsAreJoinedByTheTimeOfTheRun(t *testing.T) {
	minute := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pages := 0
	watch := NewWatch(double{"GetMetricData": func(in any) (any, error) {
		query := in.(*cloudwatch.GetMetricDataInput)
		for _, q := range query.MetricDataQueries {
			if id := *q.Id; id[0] < 'a' || id[0] > 'z' {
				t.Errorf("id %q begins with no lower-case letter", id)
			}
			if *q.MetricStat.Metric.MetricName == "ThrottledRequests" && len(q.MetricStat.Metric.Dimensions) != 2 {
				t.Error("ThrottledRequests is asked for by table only: that has no data")
			}
		}
		at := slices.IndexFunc(query.MetricDataQueries, func(q cloudwatchtypes.MetricDataQuery) bool {
			return *q.MetricStat.Metric.MetricName == "ConsumedWriteCapacityUnits" && len(q.MetricStat.Metric.Dimensions) == 1
		})
		pages++
		out := &cloudwatch.GetMetricDataOutput{MetricDataResults: []cloudwatchtypes.MetricDataResult{{
			Id: query.MetricDataQueries[at].Id, Timestamps: []time.Time{minute.Add(time.Duration(pages-1) * time.Minute)}, Values: []float64{600 * float64(pages)},
		}}}
		if pages == 1 {
			out.NextToken = aws.String("more")
		}
		return out, nil
	}}.config(t))
	series, err := watch.Read(t.Context(), Stack("my").Metrics(), minute.Add(20*time.Second), minute.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	section := Join(series, minute.Add(20*time.Second))
	if len(section.Series) != 1 || section.Series[0].Label != "table_write_units_per_second" {
		t.Fatalf("series %+v: those without a value are to be left out", section.Series)
	}
	if got, want := section.Series[0].Points, []SectionPoint{{-20, 10}, {40, 20}}; !slices.Equal(got, want) {
		t.Errorf("points %v, want %v", got, want)
	}
	if section.CompleteUntilSeconds == nil || *section.CompleteUntilSeconds != 100 {
		t.Errorf("complete until %v", section.CompleteUntilSeconds)
	}
}

func TestProductionTablesAreProtected(t *testing.T) {
	for _, test := range []struct {
		protection bool
		key, value string
		want       string
	}{
		{false, "environment", "dev", ""},
		{false, "Environment", "PROD", "its tag Environment is PROD"},
		{false, "stage", "production", "its tag stage is production"},
		{false, "team", "prod", ""},
		{true, "env", "prod", "it has deletion protection; its tag env is prod"},
	} {
		table, err := DescribeTable(t.Context(), double{
			"DescribeTable": func(any) (any, error) {
				return &dynamodb.DescribeTableOutput{Table: &dynamotypes.TableDescription{
					TableArn: aws.String("arn:t"), DeletionProtectionEnabled: aws.Bool(test.protection),
					BillingModeSummary: &dynamotypes.BillingModeSummary{BillingMode: dynamotypes.BillingModePayPerRequest},
					WarmThroughput:     &dynamotypes.TableWarmThroughputDescription{ReadUnitsPerSecond: aws.Int64(12000), WriteUnitsPerSecond: aws.Int64(4000)},
				}}, nil
			},
			"ListTagsOfResource": func(any) (any, error) {
				return &dynamodb.ListTagsOfResourceOutput{Tags: []dynamotypes.Tag{{Key: aws.String(test.key), Value: aws.String(test.value)}}}, nil
			},
		}.config(t), "my")
		if err != nil || strings.Join(table.Protected, "; ") != test.want || !table.OnDemand || table.WriteUnits != 4000 {
			t.Errorf("%s=%s: %+v, error %v, want %q", test.key, test.value, table, err, test.want)
		}
	}
}

func TestConcurrencyOfAFunction(t *testing.T) {
	c, err := DescribeConcurrency(t.Context(), double{
		"GetFunctionConcurrency": func(any) (any, error) { return &lambda.GetFunctionConcurrencyOutput{}, nil },
		"GetAccountSettings": func(any) (any, error) {
			return &lambda.GetAccountSettingsOutput{AccountLimit: &lambdatypes.AccountLimit{ConcurrentExecutions: 10, UnreservedConcurrentExecutions: aws.Int32(10)}}, nil
		},
	}.config(t), "my")
	if err != nil || c != (Concurrency{Reserved: -1, Account: 10, Unreserved: 10}) || c.Most() != 10 {
		t.Errorf("concurrency %+v, error %v", c, err)
	}
}
