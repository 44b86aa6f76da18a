package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed report.html.tmpl
var htmlSource string

// htmlTemplate escapes every name and text by where it stands in the page.
var htmlTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"ms": formatMS, "count": thousands, "share": countAndShare,
	"decimal": decimal, "text": shown[string], "bool": shown[bool], "int": shown[int], "number": shown[float64],
	"percent":  func(x *float64) string { return percentText(x, "%.1f%%") },
	"units":    func(x *float64) string { return decimal(x, 1) },
	"integer":  shown[int64],
	"time":     timeText,
	"measured": func(x *float64) string { return decimal(x, 4) },
	"usd":      usd,
}).Parse(htmlSource))

// htmlPage is what the template sees.
type htmlPage struct {
	*Result
	Title    string
	Charts   []chart
	Capacity string
	// Theme is "dark", "light" or "": as the reader's browser prefers.
	Theme string
	// DownloadURL is where the page can be had as a file; "" when it is one.
	DownloadURL string
}

// WriteHTML writes the report as one page without any reference to another file: charts are inline
// SVG, colours follow the reader's light or dark scheme, and it works without a network or scripts.
func (r *Result) WriteHTML(w io.Writer) error { return r.WritePage(w, "", "") }

// WritePage writes the same page in a theme ("dark", "light" or "": as the reader's browser prefers),
// with a link to downloadURL unless that is empty.
func (r *Result) WritePage(w io.Writer, theme, downloadURL string) error {
	page := htmlPage{
		Result: r, Title: "Load test " + r.Run.ID, Charts: r.charts(), Capacity: r.capacityText(),
		Theme: theme, DownloadURL: downloadURL,
	}
	if err := htmlTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("write HTML report: %w", err)
	}
	return nil
}

func (r *Result) charts() []chart {
	series := r.Series
	// The end of a run cuts its last second short: drawn, it would look like a collapse.
	if n, d := len(series), r.Run.DurationSeconds; n > 0 && d != nil && series[n-1].TSeconds+0.95 > *d {
		series = series[:n-1]
	}
	if len(series) < 2 {
		return nil
	}
	value := func(x float64) *float64 { return &x }
	return []chart{
		newChart("Requests per second", "/s", series,
			line{"requests", "rps", func(s Second) *float64 { return value(s.RPS) }},
			line{"failures", "failures", func(s Second) *float64 { return value(s.FailuresPerSecond) }}),
		newChart("Response time", "ms", series,
			line{"p50", "p50", func(s Second) *float64 { return s.P50MS }},
			line{"p95", "p95", func(s Second) *float64 { return s.P95MS }},
			line{"p99", "p99", func(s Second) *float64 { return s.P99MS }}),
		newChart("Users", "", series,
			line{"users", "users", func(s Second) *float64 { return value(float64(s.Users)) }}),
	}
}

func timeText(t *Timestamp) string {
	if t == nil {
		return dash
	}
	return t.UTC().Truncate(time.Second).Format("2006-01-02 15:04:05 UTC")
}

func usd(x *float64) string {
	if x == nil {
		return dash
	}
	return fmt.Sprintf("$%.4g", *x)
}
