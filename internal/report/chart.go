package report

import (
	"math"
	"strconv"
	"strings"
)

// The drawing area of a chart in SVG units.
const (
	chartWidth  = 900
	chartHeight = 240
	chartLeft   = 60
	chartRight  = 12
	chartTop    = 12
	chartBottom = 28
	// chartPoints bounds the points of a line; longer series are drawn by the largest value of
	// neighbouring seconds, so that no peak is lost.
	chartPoints = 600
	// mostTicks bounds the marks of an axis, whatever numbers a document that was read has.
	mostTicks = 12
)

// line is a curve of a chart: its legend, its CSS class and the value of a second.
type line struct {
	name, class string
	value       func(Second) *float64
}

// chart is laid out: what prints it decides nothing.
type chart struct {
	Title, Unit   string
	Width, Height int
	Lines         []chartLine
	XTicks        []tick
	YTicks        []tick
	Left, Bottom  float64
	Right, Top    float64
}

type chartLine struct {
	Name, Class string
	Path        string
	Max         string
}

type tick struct {
	At    float64
	Label string
}

func newChart(title, unit string, series []Second, lines ...line) chart {
	c := chart{
		Title: title, Unit: unit, Width: chartWidth, Height: chartHeight,
		Left: chartLeft, Right: chartWidth - chartRight, Top: chartTop, Bottom: chartHeight - chartBottom,
	}
	first, last := series[0].TSeconds, series[len(series)-1].TSeconds
	highest := 0.0
	for _, l := range lines {
		highest = max(highest, highestOf(series, l.value))
	}
	stepY := roundStep(highest / 4)
	topY := max(math.Ceil(highest/stepY)*stepY, stepY)
	x := func(t float64) float64 { return c.Left + (t-first)/max(last-first, 1e-9)*(c.Right-c.Left) }
	y := func(v float64) float64 { return c.Bottom - v/topY*(c.Bottom-c.Top) }
	for i := 0; i <= mostTicks && float64(i)*stepY <= topY*(1+1e-9); i++ {
		v := float64(i) * stepY
		c.YTicks = append(c.YTicks, tick{y(v), number(v)})
	}
	stepX := max(roundStep((last-first)/8), 1)
	for i := range mostTicks {
		t := (math.Ceil(first/stepX) + float64(i)) * stepX
		if t > last+1e-9 {
			break
		}
		c.XTicks = append(c.XTicks, tick{x(t), number(t) + "s"})
	}
	for _, l := range lines {
		c.Lines = append(c.Lines, chartLine{
			Name: l.name, Class: l.class, Path: path(series, l.value, x, y),
			Max: peakText(highestOf(series, l.value)),
		})
	}
	return c
}

func highestOf(series []Second, value func(Second) *float64) float64 {
	highest := 0.0
	for _, second := range series {
		if v := value(second); v != nil {
			highest = max(highest, *v)
		}
	}
	return highest
}

// path draws the values; a second without one interrupts the line.
func path(series []Second, value func(Second) *float64, x, y func(float64) float64) string {
	group := (len(series) + chartPoints - 1) / chartPoints
	b := new(strings.Builder)
	command := byte('M')
	for start := 0; start < len(series); start += group {
		var peak *float64
		for _, second := range series[start:min(start+group, len(series))] {
			if v := value(second); v != nil && (peak == nil || *v > *peak) {
				peak = v
			}
		}
		if peak == nil {
			command = 'M'
			continue
		}
		b.WriteByte(command)
		b.WriteString(strconv.FormatFloat(x(series[start].TSeconds), 'f', 1, 64))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatFloat(y(*peak), 'f', 1, 64))
		command = 'L'
	}
	return b.String()
}

// roundStep is the next of 1, 2, 5 × a power of ten at or above x.
func roundStep(x float64) float64 {
	if x <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, factor := range []float64{1, 2, 5} {
		if x <= factor*power*(1+1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// peakText prints about three digits without an exponent.
func peakText(x float64) string {
	digits := 0
	switch {
	case x < 10:
		digits = 2
	case x < 100:
		digits = 1
	}
	text := strconv.FormatFloat(x, 'f', digits, 64)
	if !strings.Contains(text, ".") {
		return text
	}
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 9, 64) }
