package term

import (
	"strings"
	"unicode/utf8"
)

// Table is text in columns. The first LeftColumns columns are aligned left, the others right.
type Table struct {
	Columns     []string
	LeftColumns int
	Rows        [][]string
}

// Lines lays the table out, header first, with two blanks between columns. Lines longer than width
// are shortened by cutting the left columns first; width 0 means no limit.
func (t Table) Lines(width int) []string {
	widths := t.widths()
	if width > 0 {
		t.shrink(widths, width)
	}
	lines := make([]string, 0, len(t.Rows)+1)
	lines = append(lines, t.line(t.Columns, widths))
	for _, row := range t.Rows {
		lines = append(lines, t.line(row, widths))
	}
	return lines
}

func (t Table) widths() []int {
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	return widths
}

// shrink takes what is too much from the widest left column, down to a floor that keeps it legible.
func (t Table) shrink(widths []int, width int) {
	const floor = 10
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for i := t.LeftColumns - 1; i >= 0 && total > width; i-- {
		cut := max(0, min(total-width, widths[i]-floor))
		widths[i] -= cut
		total -= cut
	}
}

func (t Table) line(row []string, widths []int) string {
	var b strings.Builder
	for i, w := range widths {
		cell := ""
		if i < len(row) {
			cell = Cut(row[i], w)
		}
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", w-utf8.RuneCountInString(cell))
		if i < t.LeftColumns {
			b.WriteString(cell + pad)
		} else {
			b.WriteString(pad + cell)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Cut shortens text to width columns, the last one being an ellipsis when something was cut.
func Cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	if width <= 0 {
		return ""
	}
	return string([]rune(text)[:width-1]) + "…"
}
