package term

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bars draws a column for each value, the highest of them as high as the chart, which has height lines and one for
// the axis. A value that is not above 0 leaves its column empty.
func Bars(values []int64, height int) []string {
	const eighths = " ▁▂▃▄▅▆▇█"
	steps := []rune(eighths)
	top := int64(0)
	if len(values) > 0 {
		top = max(0, slices.Max(values))
	}
	labels := []string{fmt.Sprint(top), "0"}
	margin := utf8.RuneCountInString(labels[0])
	lines := make([]string, 0, height+1)
	for row := range height {
		var b strings.Builder
		label := ""
		if row == 0 {
			label = labels[0]
		}
		fmt.Fprintf(&b, "%*s │", margin, label)
		for _, v := range values {
			level := 0
			if v > 0 {
				// At least an eighth, so that little is not shown as nothing.
				level = max(1, int(float64(v)/float64(top)*float64(height*8)+0.5))
			}
			b.WriteRune(steps[min(8, max(0, level-8*(height-1-row)))])
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return append(lines, fmt.Sprintf("%*s └%s", margin, labels[1], strings.Repeat("─", len(values))))
}
