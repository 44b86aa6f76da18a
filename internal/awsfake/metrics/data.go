package metrics

import (
	"context"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const (
	maxQueries    = 500     // of one GetMetricData
	maxDatapoints = 100_800 // of one answer
)

var queryID = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*$`)

func (s *Service) getMetricData(_ context.Context, call *protocol.Call, in *cloudwatch.GetMetricDataInput) (*cloudwatch.GetMetricDataOutput, error) {
	if err := call.Allow("cloudwatch:GetMetricData"); err != nil {
		return nil, err
	}
	start, end, err := span(in.StartTime, in.EndTime)
	if err != nil {
		return nil, err
	}
	if len(in.MetricDataQueries) > maxQueries {
		return nil, protocol.Errorf("ValidationError", "The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	}
	q := &queries{service: s, start: start, end: end, byID: map[string]types.MetricDataQuery{}, done: map[string]values{}}
	for _, query := range in.MetricDataQueries {
		if err := q.add(query); err != nil {
			return nil, err
		}
	}
	var results []types.MetricDataResult
	for _, query := range in.MetricDataQueries {
		v, err := q.value(*query.Id)
		if err != nil {
			return nil, err
		}
		if query.ReturnData == nil || *query.ReturnData {
			results = append(results, v.result(query, in.ScanBy))
		}
	}
	return pageOf(results, in.NextToken, in.MaxDatapoints)
}

// pageOf answers the datapoints from a token on, at most limit of them.
func pageOf(results []types.MetricDataResult, token *string, limit *int32) (*cloudwatch.GetMetricDataOutput, error) {
	skip := 0
	if token != nil {
		var err error
		if skip, err = strconv.Atoi(*token); err != nil || skip < 0 {
			return nil, protocol.Errorf("InvalidNextToken", "The value %q for parameter NextToken is invalid.", *token)
		}
	}
	left := maxDatapoints
	if limit != nil && *limit > 0 {
		left = min(left, int(*limit))
	}
	out := &cloudwatch.GetMetricDataOutput{}
	next := skip
	for _, result := range results {
		n := len(result.Values)
		from := min(skip, n)
		to := min(from+left, n)
		skip, left, next = skip-from, left-(to-from), next+to-from
		if to < n {
			result.StatusCode = types.StatusCodePartialData
			out.NextToken = aws.String(strconv.Itoa(next))
		}
		result.Timestamps, result.Values = result.Timestamps[from:to], result.Values[from:to]
		out.MetricDataResults = append(out.MetricDataResults, result)
	}
	return out, nil
}

// queries are the queries of one request, which may refer to each other by id.
type queries struct {
	service    *Service
	start, end time.Time
	byID       map[string]types.MetricDataQuery
	done       map[string]values
	open       []string // ids that are being computed, to find circles
}

// values are what a query gives: numbers by time, or one number for all times.
type values struct {
	period   time.Duration
	byTime   map[time.Time]float64
	constant *float64
}

func (q *queries) add(query types.MetricDataQuery) error {
	id := aws.ToString(query.Id)
	if !queryID.MatchString(id) {
		return protocol.Errorf("ValidationError", "The value '%s' for parameter MetricDataQueries.member.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.", id)
	}
	if _, twice := q.byID[id]; twice {
		return protocol.Errorf("ValidationError", "The values for parameter id in MetricDataQueries are not unique.")
	}
	if (query.MetricStat == nil) == (query.Expression == nil) {
		return protocol.Errorf("ValidationError", "Exactly one of the parameters MetricStat and Expression must be specified for '%s'.", id)
	}
	q.byID[id] = query
	return nil
}

func (q *queries) value(id string) (values, error) {
	if v, ok := q.done[id]; ok {
		return v, nil
	}
	query, ok := q.byID[id]
	if !ok || slices.Contains(q.open, id) {
		return values{}, protocol.Errorf("ValidationError", "Error in expression: '%s' is not the id of another query.", id)
	}
	q.open = append(q.open, id)
	defer func() { q.open = q.open[:len(q.open)-1] }()
	var v values
	var err error
	if query.MetricStat != nil {
		v, err = q.read(query.MetricStat)
	} else {
		v, err = evaluate(*query.Expression, q.value)
		if err == nil && v.byTime == nil {
			err = protocol.Errorf("ValidationError", "Error in expression '%s': the result is not a time series.", id)
		}
	}
	if err == nil {
		q.done[id] = v
	}
	return v, err
}

func (q *queries) read(stat *types.MetricStat) (values, error) {
	period, err := periodOf(stat.Period)
	if err != nil {
		return values{}, err
	}
	name := aws.ToString(stat.Stat)
	if _, ok := (&summary{count: 1}).statistic(name); !ok {
		return values{}, protocol.Errorf("ValidationError", "The value '%s' for parameter MetricStat.Stat is not a valid statistic.", name)
	}
	if stat.Metric == nil {
		return values{}, protocol.Errorf("ValidationError", "The parameter MetricStat.Metric is required.")
	}
	dimensions, err := dimensionsOf(stat.Metric.Dimensions)
	if err != nil {
		return values{}, err
	}
	v := values{period: period, byTime: map[time.Time]float64{}}
	series := q.service.find(aws.ToString(stat.Metric.Namespace), aws.ToString(stat.Metric.MetricName), dimensions)
	if series == nil || !series.hasUnit(stat.Unit) {
		return v, nil
	}
	for _, p := range series.points(q.start, q.end, period) {
		v.byTime[p.at], _ = p.statistic(name)
	}
	return v, nil
}

// result answers a query, the newest values first unless they are wanted by time.
func (v values) result(query types.MetricDataQuery, by types.ScanBy) types.MetricDataResult {
	result := types.MetricDataResult{Id: query.Id, Label: query.Label, StatusCode: types.StatusCodeComplete, Timestamps: []time.Time{}, Values: []float64{}}
	if result.Label == nil {
		result.Label = query.Id
		if query.MetricStat != nil {
			result.Label = query.MetricStat.Metric.MetricName
		}
	}
	times := make([]time.Time, 0, len(v.byTime))
	for at := range v.byTime {
		times = append(times, at)
	}
	sort.Slice(times, func(i, j int) bool { return times[i].Before(times[j]) })
	if by != types.ScanByTimestampAscending {
		slices.Reverse(times)
	}
	for _, at := range times {
		result.Timestamps = append(result.Timestamps, at)
		result.Values = append(result.Values, v.byTime[at])
	}
	return result
}

// evaluate computes an expression of metric math: numbers, ids of queries, + - * / with parentheses,
// PERIOD(id), and FILL(id, number) for the periods that have no value while another has.
func evaluate(expression string, value func(id string) (values, error)) (values, error) {
	p := &parser{rest: expression, value: value}
	v, err := p.sum()
	if err == nil && p.peek() != 0 {
		err = p.fail()
	}
	return v, err
}

type parser struct {
	rest  string
	value func(id string) (values, error)
}

func (p *parser) fail() error {
	return protocol.Errorf("ValidationError", "Error in expression: unexpected %q (arithmetic of ids and numbers, PERIOD and FILL are understood here).", p.rest)
}

// peek returns the next character that is no space, 0 at the end.
func (p *parser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *parser) take(c byte) error {
	if p.peek() != c {
		return p.fail()
	}
	p.rest = p.rest[1:]
	return nil
}

func (p *parser) sum() (values, error) { return p.operators("+-", p.product) }

func (p *parser) product() (values, error) { return p.operators("*/", p.factor) }

func (p *parser) operators(operators string, operand func() (values, error)) (values, error) {
	left, err := operand()
	for err == nil {
		operator := p.peek()
		if operator == 0 || !strings.ContainsRune(operators, rune(operator)) {
			break
		}
		p.rest = p.rest[1:]
		var right values
		if right, err = operand(); err == nil {
			left = combine(operator, left, right)
		}
	}
	return left, err
}

var token = regexp.MustCompile(`^(?:[0-9]*\.?[0-9]+|[A-Za-z][A-Za-z0-9_]*)`)

func (p *parser) factor() (values, error) {
	switch p.peek() {
	case '(':
		p.rest = p.rest[1:]
		v, err := p.sum()
		if err == nil {
			err = p.take(')')
		}
		return v, err
	case '-':
		p.rest = p.rest[1:]
		v, err := p.factor()
		zero := 0.0
		return combine('-', values{constant: &zero}, v), err
	}
	word := token.FindString(p.rest)
	if word == "" {
		return values{}, p.fail()
	}
	p.rest = p.rest[len(word):]
	if number, err := strconv.ParseFloat(word, 64); err == nil {
		return values{constant: &number}, nil
	}
	switch word {
	case "PERIOD":
		return p.period()
	case "FILL":
		return p.fill()
	}
	return p.value(word)
}

// period is PERIOD(id) after its name: the period in seconds.
func (p *parser) period() (values, error) {
	if err := p.take('('); err != nil {
		return values{}, err
	}
	v, err := p.sum()
	if err != nil {
		return v, err
	}
	seconds := v.period.Seconds()
	return values{constant: &seconds}, p.take(')')
}

// fill is FILL(id, number) after its name.
func (p *parser) fill() (values, error) {
	if err := p.take('('); err != nil {
		return values{}, err
	}
	v, err := p.sum()
	if err == nil {
		err = p.take(',')
	}
	if err != nil {
		return v, err
	}
	filler, err := p.sum()
	if err != nil {
		return v, err
	}
	if filler.constant == nil {
		return v, p.fail()
	}
	v.constant = filler.constant
	return v, p.take(')')
}

// at is the value at a time: the constant stands in for what is not there.
func (v values) at(at time.Time) (float64, bool) {
	if value, ok := v.byTime[at]; ok {
		return value, true
	}
	if v.constant != nil {
		return *v.constant, true
	}
	return 0, false
}

func combine(operator byte, left, right values) values {
	if left.byTime == nil && right.byTime == nil && left.constant != nil && right.constant != nil {
		if value, ok := calculate(operator, *left.constant, *right.constant); ok {
			return values{constant: &value}
		}
		return values{}
	}
	result := values{period: max(left.period, right.period), byTime: map[time.Time]float64{}}
	for _, side := range []map[time.Time]float64{left.byTime, right.byTime} {
		for at := range side {
			l, hasLeft := left.at(at)
			r, hasRight := right.at(at)
			if value, ok := calculate(operator, l, r); ok && hasLeft && hasRight {
				result.byTime[at] = value
			}
		}
	}
	return result
}

// calculate applies an operator; a division by zero has no value.
func calculate(operator byte, left, right float64) (float64, bool) {
	switch operator {
	case '+':
		return left + right, true
	case '-':
		return left - right, true
	case '*':
		return left * right, true
	}
	return left / right, right != 0
}
