package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/term"
)

// interactive reports whether somebody can be asked.
func (a *app) interactive() bool { return term.IsTerminal(a.stdin) && a.stderr.IsTerminal() }

// confirm asks a question that only yes answers.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	answer, err := term.Ask(ctx, a.stdin, a.stderr, question+" [y/N] ")
	if err != nil && !errors.Is(err, io.EOF) { // Ctrl+D is no
		return false, interruption(ctx, err)
	}
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}

// choose shows a list and returns the numbers, from 0, of the entries that were chosen; several numbers
// may be given when more than one is allowed. A wrong answer is asked for again.
func (a *app) choose(ctx context.Context, title string, labels []string, several bool) ([]int, error) {
	fmt.Fprintln(a.stderr, title)
	for i, label := range labels {
		fmt.Fprintf(a.stderr, "  %2d  %s\n", i+1, label)
	}
	question := "Number: "
	if several {
		question = "Numbers, separated by commas: "
	}
	for {
		answer, err := term.Ask(ctx, a.stdin, a.stderr, question)
		if err != nil {
			return nil, interruption(ctx, err)
		}
		chosen, ok := numbers(answer, len(labels))
		if ok && (several || len(chosen) == 1) {
			return chosen, nil
		}
		fmt.Fprintf(a.stderr, "want numbers from 1 to %d\n", len(labels))
	}
}

func numbers(answer string, most int) ([]int, bool) {
	var chosen []int
	for _, field := range strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > most {
			return nil, false
		}
		if !slices.Contains(chosen, n-1) {
			chosen = append(chosen, n-1)
		}
	}
	return chosen, len(chosen) > 0
}
