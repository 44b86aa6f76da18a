package report

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// csvQuantiles are the percentile columns of Locust's files.
var csvQuantiles = []struct {
	title string
	q     float64
}{
	{"50%", 0.5}, {"66%", 0.66}, {"75%", 0.75}, {"80%", 0.8}, {"90%", 0.9}, {"95%", 0.95},
	{"98%", 0.98}, {"99%", 0.99}, {"99.9%", 0.999}, {"99.99%", 0.9999}, {"100%", 1},
}

// aggregated is Locust's name for the row of all requests.
const aggregated = "Aggregated"

// CSVFiles writes Locust's four files for a run. It is not safe for concurrent use.
type CSVFiles struct {
	stats, failures, exceptions, history *os.File
	fullHistory                          bool
}

// HistoryCSV is the name of the history file that OpenCSV creates.
func HistoryCSV(prefix string) string { return prefix + "_stats_history.csv" }

// OpenCSV creates PREFIX_stats.csv, PREFIX_failures.csv, PREFIX_exceptions.csv and
// PREFIX_stats_history.csv, and missing folders of the prefix. fullHistory adds a row for every entry
// to the history and makes its percentiles those of the last ten seconds.
func OpenCSV(prefix string, fullHistory bool) (*CSVFiles, error) {
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return nil, fmt.Errorf("CSV files: %w", err)
	}
	c := &CSVFiles{fullHistory: fullHistory}
	for _, file := range []struct {
		into **os.File
		name string
	}{
		{&c.stats, prefix + "_stats.csv"}, {&c.failures, prefix + "_failures.csv"},
		{&c.exceptions, prefix + "_exceptions.csv"}, {&c.history, HistoryCSV(prefix)},
	} {
		f, err := os.Create(file.name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("CSV files: %w", err), c.closeFiles())
		}
		*file.into = f
	}
	_, err := c.history.WriteString(csvRow(historyHeader()))
	if err == nil {
		err = c.rewrite(&stats.Snapshot{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("CSV files: %w", err), c.closeFiles())
	}
	return c, nil
}

// Update writes the state of a running test; call it once a second.
func (c *CSVFiles) Update(s *stats.Snapshot) error {
	if _, err := c.history.WriteString(c.historyRows(s)); err != nil {
		return fmt.Errorf("CSV files: %w", err)
	}
	if err := c.rewrite(s); err != nil {
		return fmt.Errorf("CSV files: %w", err)
	}
	return nil
}

// Close writes the final state (nil leaves the files as they are) and closes the files.
func (c *CSVFiles) Close(final *stats.Snapshot) error {
	var err error
	if final != nil {
		err = c.Update(final)
	}
	return errors.Join(err, c.closeFiles())
}

func (c *CSVFiles) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{c.stats, c.failures, c.exceptions, c.history} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (c *CSVFiles) rewrite(s *stats.Snapshot) error {
	return errors.Join(
		replaceContent(c.stats, StatsCSV(s)),
		replaceContent(c.failures, FailuresCSV(s)),
		replaceContent(c.exceptions, ExceptionsCSV(s)),
	)
}

// replaceContent rewrites a file in place and cuts it afterwards, so that a reader never finds it
// empty. A device or pipe cannot be rewritten: it gets the states one after the other.
func replaceContent(f *os.File, content string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		_, err = f.WriteString(content)
		return err
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}

// StatsCSV is the content of Locust's statistics file.
func StatsCSV(s *stats.Snapshot) string {
	header := []string{
		"Type", "Name", "Request Count", "Failure Count", "Median Response Time", "Average Response Time",
		"Min Response Time", "Max Response Time", "Average Content Size", "Requests/s", "Failures/s",
	}
	b := new(strings.Builder)
	b.WriteString(csvRow(append(header, quantileTitles()...)))
	active := s.Total.Active().Seconds()
	for _, e := range csvEntries(s) {
		row := []string{e.Type, e.Name, integer(e.Requests), integer(e.Failures)}
		row = append(row, timeColumns(e)...)
		row = append(row, perSecond(e.Requests, active), perSecond(e.Failures, active))
		b.WriteString(csvRow(append(row, quantileColumns(e.Requests, e.Hist)...)))
	}
	return b.String()
}

// FailuresCSV is the content of Locust's failures file, in the order of Locust's error keys.
func FailuresCSV(s *stats.Snapshot) string {
	failures := slices.Clone(s.Errors)
	sort.Slice(failures, func(i, j int) bool { return failures[i].Locust() < failures[j].Locust() })
	b := new(strings.Builder)
	b.WriteString(csvRow([]string{"Method", "Name", "Error", "Occurrences", "First Seen", "Last Seen"}))
	for i := range failures {
		e := &failures[i]
		b.WriteString(csvRow([]string{e.Type, e.Name, e.Text, integer(e.Occurrences), isoSeconds(e.First), isoSeconds(e.Last)}))
	}
	return b.String()
}

// ExceptionsCSV is the content of Locust's exceptions file: errors of tasks.
func ExceptionsCSV(s *stats.Snapshot) string {
	b := new(strings.Builder)
	b.WriteString(csvRow([]string{"Count", "Message", "Traceback", "Nodes"}))
	for i := range s.TaskErrors {
		e := &s.TaskErrors[i]
		nodes := cmp.Or(strings.Join(e.Nodes, ", "), "local")
		b.WriteString(csvRow([]string{integer(e.Occurrences), e.Text, cmp.Or(e.Traceback, e.Text), nodes}))
	}
	return b.String()
}

func historyHeader() []string {
	header := append([]string{"Timestamp", "User Count", "Type", "Name", "Requests/s", "Failures/s"}, quantileTitles()...)
	return append(header, "Total Request Count", "Total Failure Count", "Total Median Response Time",
		"Total Average Response Time", "Total Min Response Time", "Total Max Response Time", "Total Average Content Size")
}

func (c *CSVFiles) historyRows(s *stats.Snapshot) string {
	entries := csvEntries(s)
	if !c.fullHistory {
		entries = entries[len(entries)-1:]
	}
	b := new(strings.Builder)
	for _, e := range entries {
		current := e.Current
		if current == nil {
			current = &stats.Current{Hist: new(stats.Histogram)}
		}
		row := []string{
			integer(s.At.Unix()), strconv.Itoa(s.Users), e.Type, e.Name,
			fmt.Sprintf("%f", current.RPS), fmt.Sprintf("%f", current.FailuresPerSecond),
		}
		if c.fullHistory {
			row = append(row, quantileColumns(current.Hist.Count(), current.Hist)...)
		} else {
			row = append(row, quantileColumns(e.Requests, e.Hist)...)
		}
		row = append(row, integer(e.Requests), integer(e.Failures))
		b.WriteString(csvRow(append(row, timeColumns(e)...)))
	}
	return b.String()
}

// csvEntries are the entries by name and type, with the row of all requests at the end.
func csvEntries(s *stats.Snapshot) []*stats.Entry {
	entries := make([]*stats.Entry, 0, len(s.Entries)+1)
	for i := range s.Entries {
		entries = append(entries, &s.Entries[i])
	}
	slices.SortFunc(entries, func(a, b *stats.Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	total := s.Total
	total.Key = stats.Key{Name: aggregated}
	return append(entries, &total)
}

// timeColumns are median, average, minimum, maximum and the average content size. Like Locust's, a
// row without a timed request has whole zeros.
func timeColumns(e *stats.Entry) []string {
	size := "0"
	if e.Requests > 0 {
		size = pythonFloat(float64(e.ContentLength) / float64(e.Requests))
	}
	if e.Hist == nil || e.Hist.Count() == 0 {
		return []string{"0", "0", "0", "0", size}
	}
	average := milliseconds(e.Hist.Sum()) / float64(e.Hist.Count())
	return []string{
		csvMS(e.Hist.Quantile(0.5)), pythonFloat(average),
		pythonFloat(milliseconds(e.Hist.Min())), pythonFloat(milliseconds(e.Hist.Max())), size,
	}
}

func quantileTitles() []string {
	titles := make([]string, len(csvQuantiles))
	for i, q := range csvQuantiles {
		titles[i] = q.title
	}
	return titles
}

func quantileColumns(requests int64, h *stats.Histogram) []string {
	columns := make([]string, len(csvQuantiles))
	for i, q := range csvQuantiles {
		switch {
		case requests == 0:
			columns[i] = "N/A"
		case h == nil || h.Count() == 0:
			columns[i] = "0"
		default:
			columns[i] = csvMS(h.Quantile(q.q))
		}
	}
	return columns
}

// csvMS prints a percentile: up to three decimals below 100 ms, whole milliseconds above. Locust
// rounds all of them, which hides what a local target does.
func csvMS(d time.Duration) string {
	ms := milliseconds(d)
	if ms >= 100 {
		return strconv.FormatFloat(ms, 'f', 0, 64)
	}
	text := strconv.FormatFloat(ms, 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func perSecond(n int64, seconds float64) string {
	if seconds <= 0 {
		return "0.0"
	}
	return pythonFloat(float64(n) / seconds)
}

func integer(n int64) string { return strconv.FormatInt(n, 10) }

// pythonFloat prints the shortest text that reads back as x, with a point, as Python does.
func pythonFloat(x float64) string {
	if size := max(x, -x); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func isoSeconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// csvRow quotes only what needs it and ends the line with CRLF. encoding/csv would rewrite line
// ends inside a field and quote leading blanks.
func csvRow(fields []string) string {
	b := new(strings.Builder)
	for i, field := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		if strings.ContainsAny(field, ",\"\r\n") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		b.WriteString(field)
	}
	b.WriteString("\r\n")
	return b.String()
}
