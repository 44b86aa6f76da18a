package locustfile

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var pythonBlock = regexp.MustCompile("(?ms)^```python\n(.*?)^```$")

func TestTheBlocksOfTheReferenceRun(t *testing.T) {
	text, err := os.ReadFile("../../docs/locustfile.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := pythonBlock.FindAllStringSubmatchIndex(string(text), -1)
	if len(blocks) < 10 {
		t.Fatalf("found %d blocks", len(blocks))
	}
	for _, at := range blocks {
		line := 1 + strings.Count(string(text[:at[2]]), "\n")
		t.Run(fmt.Sprintf("line %d", line), func(t *testing.T) {
			f := mustLoad(t, string(text[at[2]:at[3]]))
			checked, err := f.Check(t.Context(), CheckOptions{Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			if checked.Failed() {
				t.Errorf("got %+v", checked)
			}
		})
	}
}

func TestTheReferenceNamesEverything(t *testing.T) {
	text, err := os.ReadFile("../../docs/locustfile.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	names = append(names, sortedKeys(builtins)...)
	names = append(names, sortedKeys(randomFunctions)...)
	names = append(names, envNames...)
	names = append(names, builtinUserNames...)
	for _, name := range sortedKeys(clientMethods) {
		// Families are written with an ellipsis.
		name = regexp.MustCompile(`^(get|delete)_(limits|(resource|system)_defaults)$`).ReplaceAllString(name, "set_$2")
		names = append(names, name)
	}
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `\b`).Match(text) {
			t.Errorf("docs/locustfile.md does not mention %s", name)
		}
	}
}
