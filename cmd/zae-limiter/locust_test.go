//go:build interop

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A locustfile for Python's limiter works unchanged on Locust's own workers: one for each core, its
// listeners once, its rows and what the table was asked in the result.
func TestAPythonLocustfileOnLocustsWorkers(t *testing.T) {
	python := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if python == "" {
		t.Fatal("no Locust: interop/run installs it")
	}
	locust := filepath.Join(filepath.Dir(python), "locust")
	cmd := exec.CommandContext(t.Context(), "zae-limiter", "load", "benchmark", "--json", "--locust-command", locust,
		"-C", "testdata", "-f", "upstream.py", "--users", "8", "--spawn-rate", "100", "--duration", "6")
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	err := cmd.Run()
	if err := unlessBusy(err, trouble.String()); err != nil {
		t.Fatalf("%v\n%s", err, trouble.String())
	}
	var doc struct {
		document
		Run struct {
			Workers     int
			UserClasses []struct {
				Name  string
				Users int
			} `json:"user_classes"`
		}
		Consumed struct {
			WriteUnits float64 `json:"write_units"`
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int64{}
	for _, e := range doc.Entries {
		rows[e.Type+" "+e.Name] = e.Requests
	}
	if rows["ACQUIRE api"] == 0 || rows["ACQUIRE other"] == 0 || rows["COMMIT other"] == 0 {
		t.Errorf("rows are %v", rows)
	}
	if doc.Totals.Failures > 0 || doc.Consumed.WriteUnits < float64(doc.Totals.Requests) {
		t.Errorf("%d requests, %d failures, %v write units", doc.Totals.Requests, doc.Totals.Failures, doc.Consumed.WriteUnits)
	}
	users := 0
	for _, class := range doc.Run.UserClasses {
		users += class.Users
	}
	if len(doc.Run.UserClasses) != 2 || users != 8 || doc.Run.Workers < 1 {
		t.Errorf("run is %+v", doc.Run)
	}
	text := trouble.String()
	if n := strings.Count(text, "defaults are set"); n != 1 {
		t.Errorf("test_start has set the defaults %d times", n)
	}
	if want := doc.Run.Workers + 1; strings.Count(text, "test_stop in") != want || !strings.Contains(text, "test_stop in LocalRunner") {
		t.Errorf("want test_stop in each of %d processes:\n%s", want, text)
	}
}
