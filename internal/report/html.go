package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed report.css
var stylesheet string

// WriteHTML writes the report as one page without any reference to another file: charts are inline
// SVG, colours follow the reader's light or dark scheme, and it works without a network or scripts.
func (r *Result) WriteHTML(w io.Writer) error { return r.WritePage(w, "", "") }

// WritePage writes the same page in a theme ("dark", "light" or "": as the reader's browser prefers),
// with a link to downloadURL unless that is empty.
func (r *Result) WritePage(w io.Writer, theme, downloadURL string) error {
	var m markup
	m.head("Load test "+r.Run.ID, theme)
	r.htmlSummary(&m, downloadURL)
	r.htmlThresholds(&m)
	r.htmlCharts(&m)
	r.htmlTables(&m)
	r.htmlHealth(&m)
	r.htmlRun(&m)
	m.raw("</body>\n</html>\n")
	if _, err := w.Write(m.Bytes()); err != nil {
		return fmt.Errorf("write HTML report: %w", err)
	}
	return nil
}

// markup builds a page. Names and texts of a run go through its methods, which escape them: they stand
// between tags or in quoted attributes only. (html/template would do that too, but a program that
// links it keeps every exported method of every type: a fifth of its size.)
type markup struct{ bytes.Buffer }

// raw adds markup of our own.
func (m *markup) raw(parts ...string) {
	for _, part := range parts {
		m.WriteString(part)
	}
}

// element adds a text in a tag, with a class unless that is empty.
func (m *markup) element(tag, class, text string) {
	m.raw("<", tag)
	if class != "" {
		m.raw(` class="`, html.EscapeString(class), `"`)
	}
	m.raw(">", html.EscapeString(text), "</", tag, ">")
}

func (m *markup) head(title, theme string) {
	m.raw("<!DOCTYPE html>\n<html lang=\"en\"")
	if theme != "" {
		m.raw(` data-theme="`, html.EscapeString(theme), `"`)
	}
	m.raw(`>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
`)
	m.element("title", "", title)
	m.raw("\n<style>\n", stylesheet, "</style>\n</head>\n<body>\n")
	m.element("h1", "", title)
	m.raw("\n")
}

// column is a column of a table: the class of its cells is "l" for text, "wrap" for long text.
type column struct{ title, class string }

// table adds a table; bold makes its last row a total.
func (m *markup) table(columns []column, rows [][]string, bold bool) {
	m.raw(`<div class="scroll"><table><tr>`)
	for _, c := range columns {
		m.element("th", strings.ReplaceAll(c.class, "wrap", "l"), c.title)
	}
	m.raw("</tr>\n")
	for i, row := range rows {
		if bold && i == len(rows)-1 {
			m.raw(`<tr class="total">`)
		} else {
			m.raw("<tr>")
		}
		for j, cell := range row {
			m.element("td", columns[j].class, cell)
		}
		m.raw("</tr>\n")
	}
	m.raw("</table></div>\n")
}

// term adds a term and what is to be said about it to a list.
func (m *markup) term(name, text string) {
	m.element("dt", "", name)
	m.element("dd", "", text)
	m.raw("\n")
}

func (r *Result) htmlSummary(m *markup, downloadURL string) {
	if downloadURL != "" {
		m.raw(`<p class="sub"><a href="`, html.EscapeString(downloadURL), `">Download the report</a></p>`, "\n")
	}
	ended := "running"
	if r.Run.EndedAt != nil {
		ended = timeText(r.Run.EndedAt)
	}
	m.element("p", "sub", fmt.Sprintf("%s · %s users · %s – %s", shown(r.Run.Locustfile), shown(r.Run.Users), timeText(r.Run.StartedAt), ended))
	m.raw("\n", `<div class="verdict `, html.EscapeString(r.Verdict.State), `">`)
	m.element("strong", "", "Verdict: "+r.Verdict.State)
	if len(r.Verdict.Reasons) > 0 {
		m.raw("<ul>")
		for _, reason := range r.Verdict.Reasons {
			m.element("li", "", reason)
		}
		m.raw("</ul>")
	}
	m.raw("</div>\n<div class=\"cards\">\n")
	t := &r.Totals
	for _, card := range [][2]string{
		{"Requests", thousands(t.Requests)}, {"RPS", decimal(t.RPS, 1)},
		{"Failures", countAndShare(t.Failures, t.Requests)}, {"Rate limited", countAndShare(t.RateLimited, t.Requests)},
		{"Avg", formatMS(t.AvgMS)}, {"Min", formatMS(t.MinMS)}, {"Max", formatMS(t.MaxMS)}, {"p50", formatMS(t.P50MS)},
		{"p95", formatMS(t.P95MS)}, {"p99", formatMS(t.P99MS)}, {"p99.9", formatMS(t.P999MS)},
	} {
		m.raw(`<div class="card">`)
		m.element("span", "", card[0])
		m.element("b", "", card[1])
		m.raw("</div>\n")
	}
	m.raw("</div>\n")
}

func (r *Result) htmlThresholds(m *markup) {
	if len(r.Thresholds) == 0 {
		return
	}
	m.raw("<h2>Thresholds</h2>\n", `<div class="scroll"><table><tr><th class="l">Expression</th><th>Value</th><th>Outcome</th></tr>`, "\n")
	for _, t := range r.Thresholds {
		m.raw("<tr>")
		m.element("td", "l", t.Expression)
		m.element("td", "", decimal(t.Value, 4))
		if t.Passed {
			m.raw(`<td><span class="ok">passed</span></td>`)
		} else {
			m.raw(`<td><span class="bad">failed</span></td>`)
		}
		m.raw("</tr>\n")
	}
	m.raw("</table></div>\n")
}

func (r *Result) htmlCharts(m *markup) {
	charts := r.charts()
	if len(charts) > 0 {
		m.raw("<h2>Over time</h2>\n")
	}
	for i := range charts {
		charts[i].write(m)
	}
}

// write adds the chart as a figure.
func (c *chart) write(m *markup) {
	coordinate := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	m.raw("<figure>\n<figcaption>", html.EscapeString(c.Title))
	for _, l := range c.Lines {
		m.raw(`<span class="legend"><i class="`, l.Class, `"></i>`, html.EscapeString(l.Name), " (max ", html.EscapeString(strings.TrimSpace(l.Max+" "+c.Unit)), ")</span>")
	}
	m.raw("</figcaption>\n", fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s over time">`, c.Width, c.Height, html.EscapeString(c.Title)), "\n")
	left, right, bottom := coordinate(c.Left), coordinate(c.Right), coordinate(c.Bottom)
	for _, t := range c.YTicks {
		at := coordinate(t.At)
		m.raw(`<line class="grid" x1="`, left, `" x2="`, right, `" y1="`, at, `" y2="`, at, `"/><text x="`, left, `" y="`, at,
			`" dx="-6" dy="4" text-anchor="end">`, html.EscapeString(t.Label), "</text>\n")
	}
	for _, t := range c.XTicks {
		m.raw(`<text x="`, coordinate(t.At), `" y="`, bottom, `" dy="18" text-anchor="middle">`, html.EscapeString(t.Label), "</text>\n")
	}
	for _, l := range c.Lines {
		m.raw(`<path class="`, l.Class, `" d="`, html.EscapeString(l.Path), `"/>`, "\n")
	}
	m.raw("</svg>\n</figure>\n")
}

// entryColumns are those of tables of entries.
var entryColumns = []column{
	{"Type", "l"}, {"Name", "l"}, {"Requests", ""}, {"Failures", ""}, {"Ratio", ""}, {"Limited", ""}, {"RPS", ""}, {"Avg", ""},
	{"Min", ""}, {"Max", ""}, {"p50", ""}, {"p90", ""}, {"p95", ""}, {"p99", ""}, {"p99.9", ""},
}

func entryRow(kind, name string, f *Figures) []string {
	return []string{
		kind, name, thousands(f.Requests), thousands(f.Failures), percentText(f.FailureRatio, "%.1f%%"), thousands(f.RateLimited),
		decimal(f.RPS, 1), formatMS(f.AvgMS), formatMS(f.MinMS), formatMS(f.MaxMS), formatMS(f.P50MS), formatMS(f.P90MS),
		formatMS(f.P95MS), formatMS(f.P99MS), formatMS(f.P999MS),
	}
}

func entryRows(entries []Entry) (rows [][]string) {
	for i := range entries {
		rows = append(rows, entryRow(entries[i].Type, entries[i].Name, &entries[i].Figures))
	}
	return rows
}

func (r *Result) htmlTables(m *markup) {
	m.raw("<h2>Entries</h2>\n")
	m.table(entryColumns, append(entryRows(r.Entries), entryRow("", "Total", &r.Totals)), true)
	if len(r.Errors) > 0 {
		m.raw("<h2>Errors</h2>\n")
		var rows [][]string
		for _, e := range r.Errors {
			rows = append(rows, []string{e.Type, e.Name, e.Error, thousands(e.Occurrences), timeText(e.FirstAt), timeText(e.LastAt)})
		}
		m.table([]column{{"Type", "l"}, {"Name", "l"}, {"Error", "wrap"}, {"Occurrences", ""}, {"First", ""}, {"Last", ""}}, rows, false)
	}
	if len(r.Setup) > 0 {
		m.raw("<h2>Set-up calls</h2>\n")
		m.table(entryColumns, entryRows(r.Setup), false)
	}
	if len(r.Operations) > 0 {
		m.raw("<h2>What the table was asked</h2>\n")
		var rows [][]string
		for _, o := range r.Operations {
			rows = append(rows, []string{o.Operation, thousands(o.Requests), thousands(o.Throttled), thousands(o.Failures),
				formatMS(o.AvgMS), formatMS(o.P50MS), formatMS(o.P95MS), formatMS(o.P99MS), decimal(o.ClientCPUUS, 1)})
		}
		m.table([]column{{"Operation", "l"}, {"Requests", ""}, {"Throttled", ""}, {"Failures", ""}, {"Avg", ""}, {"p50", ""}, {"p95", ""}, {"p99", ""}, {"Client CPU µs", ""}}, rows, false)
	}
}

func (r *Result) htmlHealth(m *markup) {
	m.raw("<h2>Capacity and health</h2>\n<dl>\n")
	if capacity := r.capacityText(); capacity != "" {
		m.term("Capacity", capacity)
	}
	c := &r.Consumed
	m.term("Consumed", fmt.Sprintf("%s write, %s index write, %s read units; %s throttled, %s SDK retries; %s round trips per acquire",
		decimal(c.WriteUnits, 1), decimal(c.IndexWriteUnits, 1), decimal(c.ReadUnits, 1), shown(c.Throttled), shown(c.SDKRetries), decimal(c.RoundTripsPerAcquire, 3)))
	if cost := r.Cost; cost != nil {
		m.term("Cost", fmt.Sprintf("%s for this run; %s per million admitted, %s per million refused (prices of %s, %s)",
			usd(cost.EstimateUSD), usd(cost.PerMillionAdmittedUSD), usd(cost.PerMillionRefusedUSD), cost.PriceList.Date, cost.PriceList.Region))
	}
	g := &r.Generator
	m.term("Load generator", fmt.Sprintf("%s of its cores; longest GC pause %s; lateness p99 %s; pool wait p99 %s",
		percentText(g.CPURatio, "%.1f%%"), formatMS(g.GCPauseMaxMS), formatMS(g.LateP99MS), formatMS(g.PoolWaitP99)))
	m.term("Coverage", fmt.Sprintf("%s of %s planned user seconds", percentText(r.Coverage.Ratio, "%.1f%%"), decimal(r.Coverage.PlannedUserSeconds, 0)))
	m.raw("</dl>\n")
}

func (r *Result) htmlRun(m *markup) {
	m.raw("<h2>Run</h2>\n<dl>\n")
	target := r.Target.Kind
	if r.Target.Endpoint != nil {
		target += ", " + *r.Target.Endpoint
	}
	m.term("Target", fmt.Sprintf("%s, table %s, region %s, namespace %s", target, shown(r.Target.Table), shown(r.Target.Region), shown(r.Target.Namespace)))
	if e := r.Target.Engine; e != nil {
		m.term("Engine", engineText(e))
	}
	run := &r.Run
	duration := fmt.Sprintf("%s s, active %s s", decimal(run.DurationSeconds, 1), decimal(run.ActiveSeconds, 1))
	if run.WarmupSeconds > 0 {
		duration += fmt.Sprintf(", the first %v s left out", run.WarmupSeconds)
	}
	m.term("Duration", duration)
	m.term("Seed", shown(run.Seed))
	classes := make([]string, len(run.UserClasses))
	for i, c := range run.UserClasses {
		classes[i] = fmt.Sprintf("%s (%d)", c.Name, c.Users)
	}
	m.term("Classes", strings.Join(classes, ", "))
	m.term("Mode", fmt.Sprintf("%s, %s workers, %s cores, spawn rate %s", run.Mode, shown(run.Workers), shown(run.Cores), shown(run.SpawnRate)))
	m.term("Client", fmt.Sprintf("%s, speculative %s, %s connections", shown(run.Client), shown(run.Speculative), shown(run.PoolConnections)))
	for _, name := range slices.Sorted(maps.Keys(run.Options)) {
		m.term("--set "+name, run.Options[name])
	}
	version := shown(run.Version)
	if run.BuildID != nil {
		version += " " + *run.BuildID
	}
	m.term("Version", fmt.Sprintf("%s (%s, %s)", version, shown(run.GoVersion), shown(run.OSArch)))
	m.raw("</dl>\n")
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
