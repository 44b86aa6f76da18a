package cli

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// ratio is a node of the tree of classes and tasks with its share; the JSON form is Locust's.
type ratio struct {
	Ratio float64      `json:"ratio"`
	Tasks orderedRatio `json:"tasks,omitempty"`
}

// orderedRatio maps names to shares and keeps the order of the locustfile.
type orderedRatio []namedRatio

type namedRatio struct {
	name string
	ratio
}

// taskRatios returns the share of each class among a number of users (0 = by the weights alone), and
// of each task in its class (or, with total, among all users).
func taskRatios(classes []*loadtest.UserClass, users int, total bool) orderedRatio {
	shares := classShares(classes, users)
	var ratios orderedRatio
	for i, c := range classes {
		share := shares[i]
		parent := 1.0
		if total {
			parent = share
		}
		ratios = append(ratios, namedRatio{c.Name, ratio{share, taskShares(c.Tasks, parent, total)}})
	}
	return ratios
}

// classShares is Locust's calculation: fixed users first, the rest by weight in whole users.
func classShares(classes []*loadtest.UserClass, users int) []float64 {
	fixed, weights := 0, 0.0
	for _, c := range classes {
		if fixed += c.FixedCount; c.FixedCount == 0 {
			weights += c.WeightOrDefault()
		}
	}
	shares, sum := make([]float64, len(classes)), 0.0
	for i, c := range classes {
		switch {
		case c.FixedCount > 0:
			shares[i] = float64(c.FixedCount)
		case users > 0:
			shares[i] = math.RoundToEven(c.WeightOrDefault() / weights * float64(max(users-fixed, 0)))
		case fixed == 0:
			shares[i] = c.WeightOrDefault()
		}
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= cmp.Or(sum, 1)
	}
	return shares
}

// classMix is how many of a number of users each class gets.
func classMix(classes []*loadtest.UserClass, users int) map[string]int {
	const worker = "local"
	d := loadtest.NewDispatcher(classes, []string{worker})
	d.Target(users, float64(users), nil)
	mix := map[string]int{}
	for step, ok := d.Next(); ok; step, ok = d.Next() {
		mix = step.Users[worker]
	}
	return mix
}

func taskShares(tasks []loadtest.Task, parent float64, total bool) orderedRatio {
	sum := 0
	for i := range tasks {
		sum += tasks[i].WeightOrDefault()
	}
	var shares orderedRatio
	for i := range tasks {
		t := &tasks[i]
		share := parent * float64(t.WeightOrDefault()) / float64(sum)
		if at := slices.IndexFunc(shares, func(have namedRatio) bool { return have.name == taskName(t) }); at >= 0 {
			shares[at].Ratio += share // a sequence may name a task again
			continue
		}
		node := ratio{Ratio: share}
		if t.Set != nil {
			inner := 1.0
			if total {
				inner = share
			}
			node.Tasks = taskShares(t.Set.Tasks, inner, total)
		}
		shares = append(shares, namedRatio{taskName(t), node})
	}
	return shares
}

func taskName(t *loadtest.Task) string {
	if t.Name == "" && t.Set != nil {
		return t.Set.Name
	}
	return t.Name
}

// MarshalJSON writes an object whose members keep their order.
func (r orderedRatio) MarshalJSON() ([]byte, error) {
	return marshalOrdered(len(r), func(i int) (string, any) { return r[i].name, r[i].ratio })
}

// printRatios prints both tables as Locust does.
func printRatios(w io.Writer, classes []*loadtest.UserClass, users int) error {
	var b strings.Builder
	for _, part := range []struct {
		title string
		total bool
	}{{"Task ratio per User class", false}, {"Total task ratio", true}} {
		fmt.Fprintf(&b, "\n %s\n%s\n", part.title, strings.Repeat("-", 80))
		writeRatios(&b, taskRatios(classes, users, part.total), 0)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRatios(b *strings.Builder, ratios orderedRatio, level int) {
	padding := strings.Repeat("  ", level)
	for _, r := range ratios {
		fmt.Fprintf(b, " %-10s %-50s\n", padding+fmt.Sprintf("%-6.1f", 100*r.Ratio), padding+r.name)
		writeRatios(b, r.Tasks, level+1)
	}
}
