package wire

import (
	"fmt"
	"slices"
)

// Limits of what one report may hold.
const (
	maxRows        = 10_000
	maxRowCounts   = 1 << 20
	maxErrorKinds  = 10_000
	aggregatedName = "Aggregated"
	boomerTotal    = "Total" // as boomer calls it
)

// Stats is the report of a worker: what happened since the one before, in Locust's terms.
type Stats struct {
	Rows         []Row
	Total        Row
	Errors       []RowError
	UsersByClass map[string]int
	Users        int
	// Report has the same numbers exactly; nil from other peers. A message with one is read without
	// Rows, Total and Errors, which say no more.
	Report *Report
}

// Row is one row of statistics. Times are in milliseconds, timestamps in seconds since 1970 (0 = none).
type Row struct {
	Name, Method string
	// Requests counts all, Untimed those without a response time, Failures the failed ones.
	Requests, Untimed, Failures int64
	// SumTime, MinTime and MaxTime are not rounded; MinTime counts only when there are timed requests.
	SumTime, MinTime, MaxTime float64
	ContentLength             int64
	// Times counts rounded times (see [RoundTime]); RequestsPerSecond and FailuresPerSecond count by
	// second since 1970. No key comes twice from Locust, in any order.
	Times, RequestsPerSecond, FailuresPerSecond []Count
	Start, LastRequest                          float64
}

// Count is how often a key occurs.
type Count struct{ Key, N int64 }

// Timed returns the number of requests with a response time.
func (e *Row) Timed() int64 { return e.Requests - e.Untimed }

// RowError is one kind of error. Key is equal on all workers for equal Method, Name and Text. The
// times are in seconds since 1970; 0 = not told, as by Locust before 2.44.
type RowError struct {
	Key, Name, Method, Text string
	Occurrences             int64
	First, Last             float64
}

func (r *reader) stats() *Stats {
	s := takeStats()
	for key := range r.fields() {
		switch string(key) {
		case reportKey:
			s.Report = r.report()
		case "stats":
			s.Rows = r.rows(s.Rows, s.Report != nil)
		case "stats_total":
			r.row(&s.Total, s.Report != nil)
		case "errors":
			s.Errors = r.rowErrors(s.Report != nil)
		case "user_classes_count":
			s.UsersByClass = r.usersByClass()
		case "user_count":
			s.Users = int(r.count())
		default:
			r.skip()
		}
	}
	if s.Report != nil {
		s.Rows, s.Total, s.Errors = nil, Row{}, nil
	}
	return s
}

// rows reads them into the memory of a slice.
func (r *reader) rows(into []Row, skip bool) []Row {
	if skip {
		r.skip()
		return nil
	}
	n := r.array()
	if n > maxRows {
		r.fail(fmt.Errorf("%d rows, more than %d", n, maxRows))
		return nil
	}
	rows := into[:min(cap(into), n)]
	rows = append(rows, make([]Row, n-len(rows))...)
	for i := range rows {
		r.row(&rows[i], false)
	}
	return rows
}

// row reads one, in the memory of its lists.
func (r *reader) row(e *Row, skip bool) {
	if skip {
		r.skip()
		return
	}
	*e = e.emptied()
	for key := range r.fields() {
		switch string(key) {
		case "name":
			e.Name = r.text()
		case "method":
			e.Method = r.text()
		case "num_requests":
			e.Requests = r.count()
		case "num_none_requests":
			e.Untimed = r.count()
		case "num_failures":
			e.Failures = r.count()
		case "total_response_time":
			e.SumTime = r.float()
		case "min_response_time":
			e.MinTime = r.float()
		case "max_response_time":
			e.MaxTime = r.float()
		case "total_content_length":
			e.ContentLength = r.int()
		case "response_times":
			e.Times = r.counts(e.Times)
		case "num_reqs_per_sec":
			e.RequestsPerSecond = r.counts(e.RequestsPerSecond)
		case "num_fail_per_sec":
			e.FailuresPerSecond = r.counts(e.FailuresPerSecond)
		case "start_time":
			e.Start = r.float()
		case "last_request_timestamp":
			e.LastRequest = r.float()
		default:
			r.skip()
		}
	}
	e.tidy()
}

// tidy takes back what boomer says of requests that were not made: a minimum of 0 and a last request
// now, which would drag the minimum down and move the window of the rates.
func (e *Row) tidy() {
	e.Untimed = min(e.Untimed, e.Requests)
	if e.Timed() == 0 {
		e.MinTime = 0
	}
	if e.Requests == 0 && e.Failures == 0 {
		e.LastRequest = 0
	}
	if e.Name == boomerTotal && e.Method == "" {
		e.Name = aggregatedName
	}
}

func (r *reader) counts(into []Count) []Count {
	n := r.pairs()
	if n > maxRowCounts {
		r.fail(fmt.Errorf("%d different keys in one row, more than %d", n, maxRowCounts))
	}
	if n == 0 || r.err != nil {
		return into[:0]
	}
	counts := slices.Grow(into[:0], n)[:n]
	for i := range counts {
		counts[i] = Count{r.int(), r.count()}
	}
	return counts
}

func (r *reader) rowErrors(skip bool) []RowError {
	if skip {
		r.skip()
		return nil
	}
	n := r.pairs()
	if n > maxErrorKinds {
		r.fail(fmt.Errorf("%d kinds of errors, more than %d", n, maxErrorKinds))
		return nil
	}
	errors := make([]RowError, n)
	for i := range errors {
		key := r.text()
		errors[i] = r.rowError()
		errors[i].Key = key
	}
	return errors
}

func (r *reader) rowError() RowError {
	var e RowError
	for key := range r.fields() {
		switch string(key) {
		case "name":
			e.Name = r.text()
		case "method":
			e.Method = r.text()
		case "error":
			e.Text = r.text()
		case "occurrences":
			e.Occurrences = r.count()
		case "first_seen":
			e.First = r.float()
		case "last_seen":
			e.Last = r.float()
		default:
			r.skip()
		}
	}
	return e
}

func (s *Stats) append(b []byte) (_ []byte, err error) {
	fields := 5
	if s.Report != nil {
		fields++
	}
	b = appendMap(b, fields)
	if s.Report != nil {
		// First, so that a reader that understands it can skip the rows.
		if b, err = s.Report.append(appendText(b, reportKey)); err != nil {
			return b, err
		}
	}
	b = appendArray(appendText(b, "stats"), len(s.Rows))
	for i := range s.Rows {
		b = s.Rows[i].append(b)
	}
	total := s.Total
	if total.Name == "" {
		total.Name = aggregatedName
	}
	b = total.append(appendText(b, "stats_total"))
	b = appendMap(appendText(b, "errors"), len(s.Errors))
	for i := range s.Errors {
		b = s.Errors[i].append(appendText(b, s.Errors[i].Key))
	}
	b = appendCounts(appendText(b, "user_classes_count"), s.UsersByClass)
	return appendInt(appendText(b, "user_count"), int64(s.Users)), nil
}

// append writes the 14 fields in Locust's order.
func (e *Row) append(b []byte) []byte {
	b = appendMap(b, 14)
	b = appendText(appendText(b, "name"), e.Name)
	b = appendText(appendText(b, "method"), e.Method)
	b = appendTimestamp(appendText(b, "last_request_timestamp"), e.LastRequest)
	b = appendFloat(appendText(b, "start_time"), e.Start)
	b = appendInt(appendText(b, "num_requests"), e.Requests)
	b = appendInt(appendText(b, "num_none_requests"), e.Untimed)
	b = appendInt(appendText(b, "num_failures"), e.Failures)
	b = appendNumber(appendText(b, "total_response_time"), e.SumTime)
	b = appendNumber(appendText(b, "max_response_time"), e.MaxTime)
	b = appendText(b, "min_response_time")
	if e.Timed() == 0 {
		b = appendNil(b)
	} else {
		b = appendNumber(b, e.MinTime)
	}
	b = appendInt(appendText(b, "total_content_length"), e.ContentLength)
	b = appendKeyCounts(appendText(b, "response_times"), e.Times)
	b = appendKeyCounts(appendText(b, "num_reqs_per_sec"), e.RequestsPerSecond)
	return appendKeyCounts(appendText(b, "num_fail_per_sec"), e.FailuresPerSecond)
}

func (e *RowError) append(b []byte) []byte {
	b = appendMap(b, 6)
	b = appendText(appendText(b, "name"), e.Name)
	b = appendText(appendText(b, "method"), e.Method)
	b = appendText(appendText(b, "error"), e.Text)
	b = appendInt(appendText(b, "occurrences"), e.Occurrences)
	b = appendTimestamp(appendText(b, "first_seen"), e.First)
	return appendTimestamp(appendText(b, "last_seen"), e.Last)
}

func appendKeyCounts(b []byte, counts []Count) []byte {
	b = appendMap(b, len(counts))
	for _, c := range counts {
		b = appendInt(appendInt(b, c.Key), c.N)
	}
	return b
}

func appendTimestamp(b []byte, seconds float64) []byte {
	if seconds == 0 {
		return appendNil(b)
	}
	return appendFloat(b, seconds)
}

// appendNumber writes a whole number as an integer, as Python does for the 0 of an empty row.
func appendNumber(b []byte, f float64) []byte {
	if f == 0 {
		return appendInt(b, 0)
	}
	return appendFloat(b, f)
}
